"""Made-up tables of attention sinks, meaningless tokens and head categories, for made_tables."""

import itertools

import numpy as np
import pandas as pd

from atlas.analyses.head_categories.metrics import CATEGORIES

RELATIONS = [f"{category.lower()}_{number}" for category in CATEGORIES for number in range(2)]
INPUTS = {"natural": 0.7, "random": 0.4, "repeated": 0.1}


def number_of(model):
    """The number of a model m0, m1, ...; 0 for one of another name."""
    return int(model[1:]) if model[1:].isdigit() else 0


def every_head(layers, heads):
    return pd.DataFrame(itertools.product(range(layers), range(heads)), columns=["layer", "head"])


def sinks(config, models, layers, heads, rng):
    block = config["analyses"]["sinks"]
    parts, rates, profiles, norms = [], [], [], []
    for model, (kind, level) in itertools.product(models, INPUTS.items()):
        about = {"model": model, "dataset": block["dataset"], "input": kind, "epsilon": block["epsilon"],
                 "length": block["length"], "sequences": block["sequences"], "bos": number_of(model) == 1}  # fmt: skip
        frame = every_head(layers, heads)
        alpha = np.clip(rng.normal(level * (1 - 0.2 * number_of(model)), 0.3, len(frame)), 0, 1)
        frame = frame.assign(alpha=alpha, sink_rate=(alpha > 0.3).astype(float), rate_low=0.0, rate_high=1.0, **about)
        parts.append(frame)
        rate = frame.groupby("layer")["sink_rate"].mean()
        whole = pd.DataFrame({"layer": [*rate.index, None], "rate": [*rate, rate.mean()]})
        low, high = (whole["rate"] - 0.05).clip(0), (whole["rate"] + 0.05).clip(upper=1)
        curve = whole.assign(alpha=whole["rate"] / 2, rate_low=0.0, rate_high=whole["rate"])
        positions = np.repeat(np.arange(block["length"]), len(curve))
        every = pd.concat([curve] * block["length"], ignore_index=True)
        every.loc[positions > 0, "rate"] = 0.01 / positions[positions > 0]
        profiles.append(every.assign(position=positions, **about))
        own = np.random.default_rng(number_of(model))
        for number, of in enumerate(("state", "entry", "key", "value")):
            ratio = 10.0 ** own.normal(level * (3 - number), 0.2, layers)
            frame = pd.DataFrame({"layer": range(layers), "of": of, "first": ratio, "others": 1.0, "ratio": ratio})
            told = {name: about[name] for name in about if name != "epsilon"}
            norms.append(frame.assign(ratio_low=ratio * 0.9, ratio_high=ratio * 1.1, **told))
        rates.append(whole.assign(rate_low=low, rate_high=high, sequences_dropped=number_of(model), **about))
    return {
        "sinks": (parts, lambda model: {"options": block, "metric_options": block}),
        "sink_profile": (profiles, lambda model: {"options": block, "metric_options": block}),
        "sink_norms": (norms, lambda model: {"options": block, "metric_options": block}),
        "sink_rates": (rates, lambda model: {"options": block, "metric_options": block}),
    }


def head_types(config, models, layers, heads, rng):
    block = config["analyses"]["head_types"]
    parts = []
    for model in models:
        frame = every_head(layers, heads)
        for kind in ("previous_token", "duplicate_token", "induction"):
            score = rng.beta(0.3, 3, len(frame)) if number_of(model) != 2 else np.full(len(frame), 0.013)
            frame = frame.assign(**{kind: score, f"{kind}_low": score * 0.9, f"{kind}_high": score * 1.1})
        parts.append(
            frame.assign(
                model=model, dataset=block["dataset"], uniform=0.0133, tokens=block["tokens"], length=block["length"],
                sequences=block["sequences"], bos=number_of(model) == 1,
            )
        )  # fmt: skip
    return {"head_types": (parts, lambda model: {"options": block, "metric_options": block})}


def meaningless(config, models, layers, heads, rng):
    block = config["analyses"]["meaningless_tokens"]
    weights, effects = [], []
    for model, dataset in itertools.product(models, block["datasets"]):
        frame = every_head(layers, heads)
        # The last model's heads do not lose anything.
        effect = np.abs(rng.normal(0, 0.2, len(frame))) * (1 if model == models[-1] and len(models) > 1 else -1)
        prompts = {"prompts": 40 - number_of(model), "prompts_dropped": number_of(model) + 1}
        effects.append(
            frame.assign(
                model=model, dataset=dataset, effect=effect, effect_low=effect - 0.1, effect_high=effect + 0.1,
                weight_without=0.01, weight_with=0.009, span_mass=rng.random(len(frame)), reading=block["reading"],
                merged_tokens=0, **prompts, **{"lambda": 1.0},
            )
        )  # fmt: skip
        for condition, tokens in (("without", 40), ("with", 60)):
            position = np.arange(tokens)
            inside = (position >= 10) & (position < 30) & (condition == "with")
            aligned = np.where(inside, -1, position - np.where(position >= 30, 20, 0) * (condition == "with"))
            for row in frame[frame["layer"] == 0].itertuples():
                weight = rng.gamma(2, 0.01, tokens) + (position == 0) * 0.5 * (number_of(model) == 0)
                weights.append(
                    pd.DataFrame({"position": position, "in_span": inside, "weight": weight}).assign(
                        aligned_position=pd.array(aligned, "Int32"), model=model, dataset=dataset, layer=row.layer,
                        head=row.head, condition=condition, token="", weight_low=weight - 0.02,
                        weight_high=weight + 0.005, reading=block["reading"],
                        prompts=np.where(position < tokens - 3, prompts["prompts"], 3),
                    )
                )  # fmt: skip
                weights[-1].loc[inside, "aligned_position"] = pd.NA
    document = {"options": block, "metric_options": block}
    return {"attention_weights": (weights, lambda _: document), "meaningless_effect": (effects, lambda _: document)}


def categories(config, models, layers, heads, rng):
    block = config["analyses"]["head_categories"]
    scores, labels, reports = [], [], []
    for model in models:
        about = {"model": model, "dataset": block["dataset"]}
        frame = every_head(layers, heads)
        for number, relation in enumerate(RELATIONS):
            given, kept = 60 + number, 25 + 4 * number + number_of(model)
            reports.append(
                pd.DataFrame([{
                    **about, "relation": relation, "category": CATEGORIES[number // 2], "given": given, "kept": kept,
                    "unknown_token": 0, "source_split": given - kept, "target_split": 0, "duplicate": 0,
                    "scored": min(kept, 50) if kept >= 30 else 0,
                    "used": kept >= 30, "dropped": "" if kept >= 30 else "too few",
                }])
            )  # fmt: skip
            for sign in ("direct", "suppression") if kept >= 30 else ():
                p = rng.random(len(frame))
                scores.append(
                    frame.assign(
                        **about, relation=relation, category=CATEGORIES[number // 2], sign=sign, k=10, pairs=kept,
                        score=np.clip(rng.normal(0.05, 0.12, len(frame)), 0, 1), null_mean=0.02, null_sd=0.01, p=p, q=p,
                    )
                )  # fmt: skip
        names = np.array(["Unclassified", *CATEGORIES, "2 categories"])
        for name, share in (("tau", 0.5), ("tau_and_null", 0.8)):
            chance = [share, *[(1 - share) / 5] * 5]
            labels.append(
                frame.assign(
                    **about, significance=name, label=rng.choice(names, len(frame), p=chance), categories="",
                    tau=block["tau"], alpha=block["alpha"], first_state="first_mlp",
                    warning=_warning(block, len(frame)) if name != "tau" else "",
                )
            )  # fmt: skip
    document = {"options": {**block, "first_mlp": True, "first_state": "first_mlp"}, "metric_options": block}
    made = {"head_relations": scores, "head_categories": labels, "relation_pairs": reports}
    return {name: (parts, lambda _: document) for name, parts in made.items()}


def relation_effect(config, models, layers, heads, rng):
    """Each relation with heads of every selection; of the last model no relation has any."""
    block, tau = config["analyses"]["relation_effect"], config["analyses"]["head_categories"]["tau"]
    rows = []
    for model, dataset in itertools.product(models, block["datasets"]):
        for number, relation in enumerate(RELATIONS):
            base, prompts = 0.05 + 0.1 * number, 20 + number + number_of(model)
            about = {"model": model, "dataset": dataset, "relation": relation, "category": CATEGORIES[number // 2],
                     "base_accuracy": base, "prompts": prompts}  # fmt: skip
            kinds = [("none", "none", 0.0)]
            if number_of(model) % 3 < 2 or len(models) == 1:
                kinds += [
                    (str(name), selection, drop)
                    for name in block["heads"]
                    for selection, drop in (("relation", base / 2), ("random", 0.01), ("other", -0.02))
                ]
            for name, selection, drop in kinds:
                low, high = drop - 0.1, drop + 0.1
                rows.append({
                    **about, "heads_set": name, "selection": selection, "heads_ablated": 0 if name == "none" else 2,
                    "tasks": relation, "accuracy": base - drop, "low": 0.0, "high": 1.0, "drop": drop, "drop_low": low,
                    "drop_high": high, "logprob_drop": drop, "draws": 2, "heads": "[[0, 1], [1, 0]]",
                    "elsewhere": (number == 2) / 3 if selection == "random" else np.nan,
                    "reason": "",
                })  # fmt: skip
    document = {"options": {**block, "tau": tau}, "metric_options": block}
    return {"relation_effect": ([pd.DataFrame(rows)], lambda _: document)}


def relation_dynamic(config, models, layers, heads, rng):
    """Scores near each other; of the last model's relations none is implemented, and the first layer is blank."""
    block, tau = config["analyses"]["relation_dynamic"], config["analyses"]["head_categories"]["tau"]
    scores, lines, rng = [], [], np.random.default_rng(7)  # its own: other tables stay as they are
    for model, dataset in itertools.product(models, block["datasets"]):
        none = number_of(model) % 3 == 2 and len(models) > 1
        for sign, context in itertools.product(("direct", "suppression"), ("with", "without")):
            about = {"model": model, "dataset": dataset, "sign": sign, "context": context}
            for number, relation in enumerate(RELATIONS):
                pairs = 9 + number + number_of(model)
                own = {**about, "relation": relation, "category": CATEGORIES[number // 2], "k": 10, "pairs": pairs,
                       "prompts": 4 * pairs}  # fmt: skip
                frame = every_head(layers, heads)
                static = np.where(rng.random(len(frame)) < 0.2, rng.random(len(frame)) * (0.1 if none else 0.9), 0)
                frame["static"], frame["dynamic"] = static, np.clip(static + rng.normal(0, 0.05, len(frame)), 0, 1)
                if none:
                    frame.loc[frame["layer"] == 0, ["static", "dynamic"]] = np.nan
                scores.append(frame.assign(**own))
                value = np.nan if none else 0.9 - 0.05 * number - 0.1 * (context == "with")
                lines.append({**own, "correlation": value, "low": value - 0.1, "high": value + 0.05, "relations": 1,
                              "implementing": 0 if none else 3, "confirmed": 0 if none else 2})  # fmt: skip
            value = np.nan if none else 0.725 - 0.1 * (context == "with")
            many = 0 if none else len(RELATIONS)
            lines.append({
                **about, "relation": "(mean)", "category": "", "k": None, "pairs": 100, "prompts": 400,
                "correlation": value, "low": value - 0.04, "high": value + 0.02, "relations": many,
                "implementing": 3 * many, "confirmed": (2 - (context == "with")) * many,
            })  # fmt: skip
    lines = pd.DataFrame(lines).assign(
        correlation_by_template=lambda table: table["correlation"], static_max=0.9, dynamic_max=0.9, others=1,
        reason=lambda table: np.where(table["correlation"].isna(), "all heads score the same by the map", ""),
    )  # fmt: skip
    k = config["analyses"]["head_categories"]["k"]
    document = {"options": block, "metric_options": {**block, "tau": tau, "k": k}}
    return {
        "relation_dynamic": (scores, lambda _: document), "relation_correlation": ([lines], lambda _: document),
    }  # fmt: skip


def _warning(block, heads):
    least = heads / (block["permutations"] + 1)
    return f"one head among {heads} has q = {least:.2g} at best" if least >= block["alpha"] else ""
