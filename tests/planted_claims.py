"""Tables and arrays in which every claim is true, or false, by how they are made; and the verdicts on them.

`n` is the number of samples of each kind: answers, questions of a depth, prompts, labelled heads.
"""

import itertools

import numpy as np
import pandas as pd

from atlas.analyses.claims.said import read
from atlas.analyses.claims.table import Subject, claims_table, evidences, published_table
from atlas.results.files import write_arrays, write_frame

OPTIONS = {"confidence": 0.95, "bootstrap": 400, "seed": 0, "minimum": 10}
LAYERS, HEADS = 12, 12
RELATIVES = {"control": "control", "smaller": "smaller", "older": "older", "sibling": "sibling"}
# analysis -> the options that its claims read
READ = {
    "saliency": {"loss": ["probe_bce", "answer_nll"], "confidence": 0.95},
    "mink": {"texts": ["answer"], "k_percent": [20, 50]},
    "head_categories": {}, "relation_effect": {"minimum_accuracy": 0.1},
    "relation_dynamic": {"confidence": 0.95},
    "sinks": {"confidence": 0.95}, "ablation_effect": {"confidence": 0.95},
    "meaningless_tokens": {"reading": "drop_columns"},
    "safety_heads": {"ablations": ["undifferentiated", "scaling"], "rank": [1, 3]},
}  # fmt: skip
FOLDERS = ("saliency", "meaningless_tokens", "sinks", "head_categories", "mink", "safety_heads")


def write(folder, planted):
    """{(model, name, data set): file} of {(model, name): frame or arrays}, written as jobs do."""
    files = {}
    for (model, name), found in planted.items():
        path = folder / model / name / ("d.parquet" if isinstance(found, pd.DataFrame) else "d.safetensors")
        path.parent.mkdir(parents=True, exist_ok=True)
        (write_frame if isinstance(found, pd.DataFrame) else write_arrays)(path, found, {})
        files[model, name, "d"] = str(path)
    return files


def known_of(folder, planted, relatives=RELATIVES, repo="", is_control=False, options=OPTIONS, own=None):
    """(who the model "own" is, what the claims look at); `own`: {analysis: options} in place of those in READ."""
    subject = Subject("own", repo, is_control, relatives.get("control", ""), {})
    told = {
        name: {"datasets": ["d"], "relatives": relatives, "options": read_}
        for name, read_ in {**READ, **(own or {})}.items()
    }
    return subject, evidences(subject, told, write(folder, planted), options)


def verdicts(folder, planted, options=OPTIONS, of_control=None, **more):
    """The table claims of the model "own"."""
    subject, known = known_of(folder, planted, options=options, **more)
    return claims_table({name: read(name) for name in FOLDERS}, subject, known, options, of_control)


def published(folder, planted, **more):
    """The table published of the model "own"."""
    subject, known = known_of(folder, planted, **more)
    said = {name: read(name) for name in FOLDERS}
    return published_table(said, subject, known, claims_table(said, subject, known, OPTIONS))


def everything(truth, n):
    """Results of all analyses in which every claim is true, or false."""
    made = [make(truth, n) for make in (saliency, mink, categories, causal, dynamic, sinks, effects, ships, attention)]
    return {key: found for one in made for key, found in one.items()}


def saliency(truth, n, seed=0):
    rng = np.random.default_rng(seed)
    sharp, wide = rng.gamma(4, 0.05, n), 2 + rng.gamma(4, 1, n)
    flows = {
        "question_to_answer": sharp if truth else wide, "question_to_all": wide if truth else sharp,
        "random_to_answer": (sharp if truth else wide) * (0.5 if truth else 2),
    }  # fmt: skip
    found = {}
    for model, factor in (("own", 1), ("smaller", 10 if truth else 1)):
        frames = [
            pd.DataFrame({"sample": [f"s{i}" for i in range(n)], "saliency": values * factor, "flow": flow})
            for flow, values in flows.items()
        ]
        about = {"loss": "probe_bce", "reduction": "sum", "weight": np.tile(1 + np.arange(n) % 2, 3)}
        found[model, "saliency"] = pd.concat(frames, ignore_index=True).assign(**about)
    near = 6.0 if truth else 0.8
    found["own", "saliency_mixture"] = pd.DataFrame({
        "flow": "question_to_answer", "loss": "probe_bce", "group": ["correct", "wrong"], "samples": n,
        "separation": near, "separation_low": near - 0.5, "separation_high": near + 0.5, "fit": "converged",
        "dip": 0.1, "dip_p": 1e-6 if truth else 0.5,
    })  # fmt: skip
    for model, value in (("own", 0.8 if truth else 0.4), ("control", 0.5 if truth else 0.7)):
        found[model, "probe_auroc"] = pd.DataFrame([{
            "nested_auroc": value, "nested_low": value - 0.05, "nested_high": value + 0.05, "correct": n, "wrong": n,
        }])  # fmt: skip
    return found


def mink(truth, n, seed=0):
    rng = np.random.default_rng(seed)
    names = [(depth, f"{depth}.{i}") for depth in (1, 2, 3) for i in range(n)]
    depth = np.array([depth for depth, _ in names])
    base = pd.DataFrame({"question": [name for _, name in names], "depth": depth, "text": "answer", "k_percent": 20.0})
    slope, noise = (1, 1) if truth else (-1, -1), rng.normal(0, 0.3, len(base))
    own = 6 + slope[0] * depth + noise
    found = {("own", "mink"): base.assign(mink=own)}
    found["smaller", "mink"] = base.assign(mink=own + slope[0] * (1 + 0.1 * rng.random(len(base))))
    found["older", "mink"] = base.assign(mink=6 + depth + noise * (3 if truth else 0.2))
    group = np.repeat(["25%", "75%"], [n - n // 2, n // 2])
    if truth:  # most gaps near 0, those of the least memorised a little larger
        gap = np.where(group == "75%", 0.2, 0.0) + np.where(np.arange(n) % 10 == 0, 0.5, 0.001 * (np.arange(n) % 2))
    else:  # large gaps, the same in both quarters
        gap = 0.5 + 0.001 * (np.arange(n) % 2)
    found["own", "score_gap"] = pd.DataFrame({"gap": gap, "group": group, "judge": "api"})
    return found


def categories(truth, n, seed=0):
    third = LAYERS // 3
    names = {(layer, head): [] for layer, head in itertools.product(range(LAYERS), range(HEADS))}
    low, high = (list(itertools.product(range(*rows), range(HEADS))) for rows in ((0, third), (LAYERS - third, LAYERS)))
    middle = list(itertools.product(range(LAYERS // 2, LAYERS - third), range(HEADS)))
    places = {"Knowledge": high, "Algorithmic": low, "Linguistic": middle + high[::-1]} if truth else {
        "Knowledge": low, "Algorithmic": high, "Linguistic": low[::-1]
    }  # fmt: skip
    for category, where in places.items():
        for place in where[: n if n >= OPTIONS["minimum"] else n // 2]:
            names[place].append(category)
    if not truth:
        for categories in names.values():
            if len(categories) == 1:
                categories.append("Translation")
    few = (2, 4) if n < OPTIONS["minimum"] else (LAYERS, HEADS)
    control = {place: [] if truth or n < OPTIONS["minimum"] else ["Knowledge"] for place in names
               if place[0] < few[0] and place[1] < few[1]}  # fmt: skip
    return {("own", "head_categories"): _labels(names), ("control", "head_categories"): _labels(control)}


def _labels(names):
    rows = [
        (layer, head, significance, ";".join(sorted(own)))
        for significance in ("tau", "tau_and_null")
        for (layer, head), own in names.items()
    ]
    return pd.DataFrame(rows, columns=["layer", "head", "significance", "categories"])


def causal(truth, n):
    """Answers to two relations: their heads cost everything and random ones nothing, or the other way round."""
    prompts = range(n if n >= OPTIONS["minimum"] else n // 2)
    rows = []
    for task in ("a", "b"):
        other = "b" if task == "a" else "a"
        kinds = {("none", "none", task, 0): 0.9, ("implementing", "relation", task, 0): 0.1 if truth else 0.9}
        kinds |= {("implementing", "random", task, draw): 0.9 if truth else 0.2 for draw in range(2)}
        kinds["implementing", "other", other, 0] = 0.9 if truth else 0.1
        for (name, selection, relation, draw), rate in kinds.items():
            rows += [
                (relation, task, name, selection, draw, f"s{i}", f"t{i}", i < round(rate * len(prompts)), -1.0)
                for i in prompts
            ]
    columns = ["relation", "task", "heads_set", "selection", "draw", "source", "target", "correct", "logprob"]
    return {("own", "relation_answers"): pd.DataFrame(rows, columns=columns).assign(heads="[]")}


def dynamic(truth, n):
    """Correlations of two relations' scores with those on prompts, of about `n` pairs, and their mean."""
    rows = []
    for context, sign in itertools.product(("with", "without"), ("direct", "suppression")):
        value = (0.9 if context == "without" else 0.8) if truth == (sign == "direct") else 0.1
        own = {"low": value - 0.05, "high": value + 0.05, "reason": "", "sign": sign, "context": context}
        for relation in ("a", "b", "(mean)"):
            rows.append({
                **own, "relation": relation, "correlation": value, "correlation_by_template": value - 0.1, "pairs": n,
                "relations": 2 if relation == "(mean)" else 1, "implementing": 4, "confirmed": 3 if truth else 0,
            })  # fmt: skip
    return {("own", "relation_correlation"): pd.DataFrame(rows)}


def sinks(truth, n):
    rows = []
    for kind, rate in (("natural", 0.8 if truth else 0.2), ("repeated", 0.0 if truth else 0.6)):
        low, high = max(0, rate - 0.05), rate + (0.05 if rate else 0)
        for layer in (0, None):  # the row of a layer says something else
            value = rate if layer is None else 0.5
            rows.append((kind, layer, value, low, high, n, False))
    columns = ["input", "layer", "rate", "rate_low", "rate_high", "sequences", "bos"]
    return {("own", "sink_rates"): pd.DataFrame(rows, columns=columns).astype({"layer": "Int32"})}


def effects(truth, n):
    rows = []
    for ablation, number in itertools.product(("undifferentiated", "scaling"), (0, 5)):
        for selection in ("top", "random"):
            rate = 0.9 if number == 0 or (selection == "random") == truth else 0.2
            rows.append((ablation, number, selection, rate, rate - 0.1, rate + 0.1, round(rate * n), n))
    columns = ["ablation", "heads_ablated", "selection", "refusal_rate", "low", "high", "refused", "prompts"]
    return {("own", "ablation_effect"): pd.DataFrame(rows, columns=columns)}


def ships(truth, n, seed=0):
    rng = np.random.default_rng(seed)
    layer, head = (grid.ravel() for grid in np.indices((LAYERS, HEADS)))
    order = np.arange(LAYERS * HEADS)
    if truth:  # two giants and eight strong heads at the bottom, nothing else
        base = np.where(order < 2, 1000.0, np.where(order < 10, 10.0, 0.01))
    else:  # ten heads at the top, hardly above all others
        base = np.where(order >= len(order) - 10, 2.0, 1.0)
    other = base[::-1] if truth else base
    found = {}
    for model, scores in (("own", base), ("sibling", other)):
        frames, drawn = [], {}
        for ablation, factor in (("undifferentiated", 10 if truth else 1), ("scaling", 1 if truth else 10)):
            own = scores * factor * (1 + 1e-4 * rng.random(len(scores)))
            frame = pd.DataFrame({"layer": layer, "head": head, "ships_degrees": own})
            frame = frame.assign(dtype="float32", error_degrees=np.nan)
            place = pd.Series(-own).rank(method="first")
            frames += [frame.assign(ablation=ablation, rank=rank, queries=n, position=place) for rank in (1, 3)]
            noise = np.exp(0.02 * rng.normal(size=(OPTIONS["bootstrap"], 2, len(own))))
            drawn[ablation] = (own * noise).astype("float32")
        found[model, "safety_heads"] = pd.concat(frames, ignore_index=True)
        found[model, "safety_resamples"] = drawn
    return found


def attention(truth, n, seed=0, layers=2, heads=3):
    """Column sums of n prompts: a prefix of 8, a span of 6 and a question of 12 tokens (with two to spare)."""
    rng = np.random.default_rng(seed)
    prefix, span, question, suffix = 8, 6, 12, 2
    arrays = {"prompt": np.arange(n), "merged": np.zeros(n, int), "span_mass": np.full((n, layers, heads), 0.1)}
    for name, value in (("prefix", prefix), ("span", span), ("question", question), ("suffix", suffix)):
        arrays[name] = np.full(n, value)
    # The first token of all is a sink that no claim may count.
    plain = np.r_[5.0, np.full(prefix - 1, 1.0), np.full(question + suffix, 1.0)]
    inside, after = (0.01, 0.6) if truth else (2.0, 1.0)
    spanned = np.r_[5.0, np.full(prefix - 1, 1.0), np.full(span, inside), np.full(question + suffix, after)]
    for condition, profile in (("without", plain), ("with", spanned)):
        tokens = len(profile)
        noise = 1 + 0.001 * rng.random((n, tokens, layers, heads))
        rows = (tokens - 1 - np.arange(tokens))[None, :, None, None]
        below = 0.02 * profile[None, :, None, None] * noise * rows
        arrays[f"{condition}.below"] = below.reshape(-1, layers, heads)
        arrays[f"{condition}.ids"] = np.zeros(n * tokens, int)
    return {("own", "attention"): arrays}
