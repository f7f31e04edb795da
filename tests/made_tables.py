"""Made-up tables of every analysis, of any number of models and heads, in which every branch of a caption speaks.

Each model has numbers of its own wherever a run's models may differ: prompts, dropped texts, answers, refusals.
"""

import itertools

import numpy as np
import pandas as pd

from atlas.analyses.claims.verdicts import VERDICTS
from atlas.analyses.head_categories.metrics import CATEGORIES
from atlas.analyses.mink.membership import MEASURES as MEMBERSHIP
from atlas.analyses.registry import CLAIMS, TABLES
from made_attention import (
    categories,
    every_head,
    head_types,
    meaningless,
    number_of,
    relation_dynamic,
    relation_effect,
    sinks,
)

LABEL = "gemma-2-2b-it-abliterated, dequantised from Q4_K_M (control)"  # of 60 characters
FLOWS = ("question_to_answer", "question_to_all", "random_to_answer", "random_to_all")


def tables_of(config, layers=6, heads=4, seed=0, only=()):
    """({table: frame}, {table: {path: document}}) of a checked configuration, as its jobs would write them.

    only: names of MAKERS; empty: all.
    """
    rng = np.random.default_rng(seed)
    frames, documents = {}, {}
    for make in [MAKERS[name] for name in only or MAKERS]:
        made = make(config, list(config["models"]), layers, heads, rng)
        for name, (parts, document) in made.items():
            frame = pd.concat(parts, ignore_index=True)
            frames[name] = frame[list(TABLES[name])].astype(TABLES[name]) if name in TABLES else frame
            datasets = frame["dataset"].unique() if "dataset" in frame else ["all"]
            documents[name] = {
                f"results/metrics/{model}/{name}/{dataset}.parquet": document(model)
                for model in config["models"]
                for dataset in datasets
            }
    return frames, documents


def _mink(config, models, layers, heads, rng):
    block = config["analyses"]["mink"]
    questions, trends, graphs, gaps = [], [], [], []
    dropped = {model: {"under min_tokens": 2 + number_of(model), "longer than max_tokens": 1} for model in models}
    left = {model: {"no score": 3, "no Min-K%": number_of(model)} for model in models}
    for model, dataset in itertools.product(models, block["datasets"]):
        about = {"model": model, "dataset": dataset, "text": block["texts"][0], "template": "chat"}
        about["dtype"] = ("float32", "bfloat16")[number_of(model) % 2]
        for k in block["k_percent"]:
            for depth in (1, 2, 3):
                number = 30 - 5 * depth - number_of(model)
                values = rng.gamma(6, 1 + 0.1 * depth, number)
                names = [f"{depth}.{i}" for i in range(number)]
                one = {**about, "depth": depth, "k_percent": float(k)}
                questions.append(
                    pd.DataFrame({"question": names, "mink": values, "minkpp": values / 5}).assign(
                        **one, tokens=20, tokens_averaged=4, domain="law"
                    )
                )
                graphs.append(
                    pd.DataFrame({"root": names, "mink": values, "minkpp": values / 5}).assign(**one, questions=3)
                )
                trends.append(
                    pd.DataFrame([{
                        **one, "average": block["average"], "questions": number, "predecessors": 4 * (depth - 1),
                        "dropped": sum(dropped[model].values()),
                        "median": np.median(values), "low": 1.0, "high": 9.0, "trend_tau": 0.1 * number_of(model) - 0.1,
                        "trend_p": 0.02 * 10 ** -number_of(model), "median_pp": 1.0, "low_pp": 0.5, "high_pp": 2.0,
                        "trend_tau_pp": -0.2, "trend_p_pp": np.nan if number_of(model) else 0.4,
                    }])
                )  # fmt: skip
        # The first model has two groups, the second one question in a group, the third nothing to spread.
        sizes = (
            {"25%": 9, "middle": 7, "75%": 8},
            {"25%": 1, "middle": 2, "75%": 8},
            {"25%": 3, "middle": 0, "75%": 0},
        )
        for group, size in sizes[number_of(model) % 3].items():
            gap = rng.normal(0, 0.3, size) if number_of(model) % 3 < 2 else np.zeros(size)
            gaps.append(
                pd.DataFrame({"gap": gap}).assign(
                    question=[f"{group} {i}" for i in range(size)], model=model, dataset=dataset, score=3.0,
                    group=group, domain="law",
                    mink=8.0, k_percent=float(block["k_percent"][0]), text=block["texts"][0], predecessors=2,
                    judge="reference", answers_from=models[0] if number_of(model) == 1 else model,
                )
            )  # fmt: skip
    settled = {**block, "template": "chat"}  # as a job leaves `auto` behind
    document = {"options": settled, "metric_options": block, "judge": {"kind": "reference"}}

    judged, between = [], []
    for model, dataset, prompt in itertools.product(models, block["datasets"], ("zero_shot", "gold", "predicted")):
        about = {"model": model, "dataset": dataset, "prompt": prompt, "judge": "reference"}
        about["answers_from"] = models[0] if number_of(model) == 1 else model
        for depth in (1, 2, 3):
            score = rng.uniform(2, 4)
            judged.append(
                pd.DataFrame([{**about, "depth": depth, "score": score, "low": score - 0.5, "high": score + 0.5,
                               "questions": 30 - 9 * depth - number_of(model), "unscored": 1}])
            )  # fmt: skip
        for direction, depths in itertools.product(("forward", "backward"), ("D2-D3", "D1-D2", "all")):
            gap = np.nan if number_of(model) == 2 else rng.uniform(0.1, 0.3)
            between.append(
                pd.DataFrame([{**about, "direction": direction, "depths": depths, "value": gap, "low": gap - 0.1,
                               "high": gap + 0.1, "questions": 5, "threshold": 4.0, "successors": "mean",
                               "by": "question"}])
            )  # fmt: skip

    def of_answers(model):
        left = {"gold": {"longer than the context": number_of(model)}, "predicted": {"unasked": 0}}
        return document | {"context": {"dropped": left}}

    def of_trend(model):
        return document | {"dropped": {block["texts"][0]: dropped[model]}}

    def of_gap(model):
        return document | {"dropped": left[model]}

    return {
        "mink": (questions, of_trend), "mink_graphs": (graphs, of_trend), "mink_trend": (trends, of_trend),
        "score_gap": (gaps, of_gap), "depth_accuracy": (judged, of_answers), "discrepancy": (between, of_answers),
    }  # fmt: skip


def _membership(config, models, layers, heads, rng):
    block = config["analyses"]["membership"]
    rates, scores = [], []
    dropped = {model: {"under min_tokens": 1 + number_of(model), "longer than max_tokens": 2} for model in models}
    for model, dataset, measure in itertools.product(models, block["datasets"], MEMBERSHIP):
        if measure == "reference" and number_of(model) % 3 == 0:  # the first is the reference of the others
            continue
        texts = 20 + 2 * number_of(model)
        labels = np.arange(texts) % 2
        about = {"model": model, "dataset": dataset, "measure": measure}
        for k in block["k_percent"] if measure.startswith("min") else [np.nan]:
            scores.append(
                pd.DataFrame({"label": labels, "score": rng.normal(labels, 1)}).assign(
                    **about, k_percent=k, text=[f"t{i}" for i in range(texts)], tokens=30
                )
            )
            area, rate = rng.uniform(0.5, 0.8), rng.uniform(0.2, 0.5)
            rates.append(
                pd.DataFrame([{
                    **about, "k_percent": k, "auroc": area, "auroc_low": area - 0.1, "auroc_high": area + 0.1,
                    "tpr": rate, "tpr_low": rate - 0.1, "tpr_high": rate + 0.1, "max_fpr": block["max_fpr"],
                    "members": texts // 2, "nonmembers": texts // 2, "dropped": sum(dropped[model].values()),
                    "reference": models[0] if measure == "reference" else "",
                    "dtype": ("float32", "bfloat16")[number_of(model) % 2],
                }])
            )  # fmt: skip
    document = {"options": block, "metric_options": block}

    def of(model):
        return document | {"dropped": {"text": dropped[model]}}

    return {"membership": (rates, of), "membership_scores": (scores, of)}


def _safety(config, models, layers, heads, rng):
    block, effect = config["analyses"]["safety_heads"], config["analyses"]["ablation_effect"]
    ranked, rates, groups, queries = [], [], [], []
    for model, dataset, ablation in itertools.product(models, block["datasets"], block["ablations"]):
        about = {"model": model, "dataset": dataset, "ablation": ablation}
        prompts = 8 + number_of(model)
        for rank in block["rank"]:
            frame = every_head(layers, heads)
            degrees = rng.gamma(1, 0.1 if number_of(model) % 3 == 2 else 10, len(frame))
            frame = frame.assign(
                **about, rank=rank, ships_degrees=degrees, ships_low=degrees * 0.8, ships_high=degrees * 1.1,
                kl_mean=degrees / 90, kl_low=0.0, kl_high=1.0, queries=prompts, queries_dropped=number_of(model),
                position=pd.Series(-degrees).rank(method="first"),
            )  # fmt: skip
            # The second model is in half precision, the third too and was not measured again.
            error = degrees.max() / 20 if number_of(model) % 3 == 1 else np.nan
            frame["dtype"] = ("float32", "bfloat16", "float16")[number_of(model) % 3]
            frame["error_degrees"], frame["error_kl"] = error, error / 90
            frame["tied"] = [(np.abs(degrees - own) <= 2 * error).sum() - 1 if error > 0 else None for own in degrees]
            ranked.append(frame)
        for number in range(3):  # of the first prompt the second model has none
            if number or number_of(model) != 1:
                kl = rng.gamma(1, 0.1, layers * heads)
                one = every_head(layers, heads).assign(**about, query=f"p{number}", kl=kl)
                queries.append(one.assign(position=pd.Series(-kl).rank(method="first")))
        strongest = frame.sort_values("position").head(3)
        groups.append(
            strongest[["layer", "head", "ships_degrees", "kl_mean"]].assign(
                **about, step=range(1, len(strongest) + 1), rank=rank, candidates=min(20, len(frame)), queries=prompts
            )
        )
        # Every third model refuses nothing; the others refuse half of the prompts, each draw the same at 0 heads.
        for (selection, draws), number in itertools.product((("top", 1), ("random", effect["draws"])), effect["heads"]):
            before = 0 if number_of(model) % 3 == 0 else prompts // 2
            refused = draws * before if number == 0 else min(draws * before, int(rng.integers(0, draws * prompts)))
            rate = refused / (draws * prompts)
            rates.append(
                pd.DataFrame([{
                    **about, "heads_ablated": number, "selection": selection, "refusal_rate": rate,
                    "low": max(rate - 0.2, 0), "high": min(rate + 0.2, 1), "refused": refused, "prompts": prompts,
                    "draws": draws,
                }])
            )  # fmt: skip
    document = {"options": block, "metric_options": block}
    of_effect = {"options": effect, "metric_options": effect, "phrases": ["i cannot", "i am sorry", "as an ai"]}
    return {
        "safety_heads": (ranked, lambda _: document), "head_groups": (groups, lambda _: document),
        "ablation_effect": (rates, lambda _: of_effect), "safety_queries": (queries, lambda _: document),
    }  # fmt: skip


def _saliency(config, models, layers, heads, rng):
    block = config["analyses"]["saliency"]
    samples, by_layer, mixtures, curves = [], [], [], []
    for model, (place, dataset) in itertools.product(models, enumerate(block["datasets"])):
        about = {"model": model, "dataset": dataset}
        right, wrong = 12 + number_of(model) + place, 30 + 2 * number_of(model)
        count = right + wrong
        # The third model has no probe on the second data set.
        trained = not (number_of(model) == 2 and place == 1)
        correct = np.arange(count) < right
        sample = {
            "sample": [f"s{i}" for i in range(count)], "correct": correct, "weight": np.where(correct, 1.0, 2.5),
            "answer_strategy": np.where(np.arange(count) % 3 == 0, "alias", "whole_answer"),
        }  # fmt: skip
        same = dict(probe_error=0.1, pairs=9, random_overlap=0, question_strategy="content_words",
                    reduction=block["reduction"], heads=block["heads"])  # fmt: skip
        for loss, (number, flow) in itertools.product(block["loss"] if trained else ["answer_nll"], enumerate(FLOWS)):
            values = rng.gamma(2, 1 + number, count)
            one = {**about, **same, "loss": loss, "flow": flow}
            samples.append(
                pd.DataFrame({**sample, "saliency": values}).assign(**one, layers=block["layers"], layers_reached=3)
            )
            depths = np.arange(layers - 1)
            below = pd.DataFrame({name: np.tile(np.asarray(column), len(depths)) for name, column in sample.items()})
            by_layer.append(
                below.assign(saliency=np.outer(1 + depths, values).ravel(), **one, layer=np.repeat(depths, count))
            )
        for group in ("right", "wrong") if trained else ():
            mixtures.append(
                pd.DataFrame([{
                    **about, "flow": "question_to_answer", "loss": block["loss"][0], "group": group, "samples": count,
                    "zeros": 0, "fit": "two", "draws": 200, "draws_used": 200 - number_of(model), "share": 0.5,
                    "low_mean": 0.0, "high_mean": 1.0, "low_sd": 1.0, "high_sd": 1.0,
                    "separation": np.nan if (group, place) == ("right", 1) else 2.5, "separation_low": 2.0,
                    "separation_high": 3.0, "bic_gain": 1.0, "dip": 0.1, "dip_p": 0.4,
                }])
            )  # fmt: skip
        levels = np.arange(layers + 1)
        scores = 0.5 + 0.4 * np.sin(levels / (layers + 1) * 3) * rng.random() if trained else np.full(1, np.nan)
        levels = levels[: len(scores)]
        nested = 0.6 + 0.02 * number_of(model) if trained else np.nan
        curves.append(
            pd.DataFrame({"layer": levels, "auroc": scores}).assign(
                **about, auroc_low=scores - 0.1, auroc_high=np.minimum(scores + 0.1, 1),
                chosen=trained & (levels == (np.argmax(scores))), nested_auroc=nested, nested_low=nested - 0.1,
                nested_high=nested + 0.1, correct=right, wrong=wrong,
                **{name: block["probe"][name] for name in ("folds", "regularisation", "weights")},
            )
        )  # fmt: skip
    document = {"options": block, "metric_options": block}
    made = {"saliency": samples, "saliency_layers": by_layer, "saliency_mixture": mixtures, "probe_auroc": curves}
    return {name: (parts, lambda model: document | {"model": {"source": model}}) for name, parts in made.items()}


def _spans(config, models, layers, heads, rng):
    block = config["analyses"]["span_saliency"]
    parts = []
    for model, dataset, flow, source in itertools.product(
        models, block["datasets"], block["flows"], ("marked", "random")
    ):
        value = rng.gamma(2, 1e-3, layers)
        numbers = {"saliency": value, "low": 0.8 * value, "high": 1.2 * value}
        # One prompt of each model but the first has no pair of the first flow, and one more of the last model, in
        # which random tokens stand behind all others.
        lost = (number_of(model) > 0) + (source == "random" and number_of(model) == 2)
        lost *= flow is block["flows"][0]
        parts.append(
            pd.DataFrame({"layer": np.arange(layers), **numbers}).assign(
                **{"from": flow.get("from", ""), "to": flow.get("to", "")}, model=model, dataset=dataset,
                flow=flow["name"], source=source, prompts=20 + number_of(model) - lost, pairs=rng.uniform(5, 90),
                nll=0.5 + number_of(model), dropped=number_of(model), reduction=block["reduction"],
                heads=block["heads"],
            )
        )  # fmt: skip

    def of(model):
        number = number_of(model)
        dropped = {"no span named label": [f"p{i}" for i in range(number)]} if number else {}
        samples = {"measured": 20 + number, "given": 20 + 2 * number, "dropped": dropped, "unused_spans": []}
        return {"options": block, "metric_options": block, "samples": samples}

    return {"span_saliency": (parts, of)}


def _heads(config, models, layers, heads, rng):
    block = config["analyses"]["heads"]
    parts, overlaps = [], []
    for model in models:
        frame = every_head(layers, heads).reindex(columns=list(TABLES["heads"])).assign(model=model)
        for metric in block["metrics"]:
            frame[metric] = rng.gamma(2, 0.1, len(frame))
        names = np.array(["Unclassified", *CATEGORIES])
        frame["label"], frame["label_null"] = rng.choice(names, len(frame)), "Unclassified"
        missing = [metric for metric in block["metrics"] if metric.startswith("ships")] if number_of(model) == 1 else []
        frame[missing] = np.nan
        parts.append(frame)
        for a, b in itertools.combinations(block["metrics"], 2):
            there = not {a, b} & {*missing}
            rho, within = rng.uniform(-1, 1, 2) if there else (np.nan, np.nan)
            overlaps.append(
                pd.DataFrame([{
                    "model": model, "metric_a": a, "metric_b": b, "heads": len(frame) if there else 0, "rho": rho,
                    "low": rho - 0.1, "high": rho + 0.1, "p": 0.01, "q": abs(rho) / 8, "rho_within": within,
                    "within_low": within - 0.1, "within_high": within + 0.1, "within_p": 0.01,
                    "within_q": abs(within) / 8, "top": block["top"],
                    "top_a": 20, "top_b": 20, "overlap": rng.integers(0, 15) if there else None, "expected": 2.0,
                    "chance_low": 0 if there else None, "chance_high": 5 if there else None,
                    "overlap_p": 0.2, "overlap_q": 0.04 if there else np.nan,
                }])
            )  # fmt: skip
    return {"heads": (parts, lambda _: {}), "head_overlap": (overlaps, lambda _: {})}


def _claims(config, models, layers, heads, rng):
    """Verdicts of every kind, on every data set of their analyses; the first model has published values."""
    rows = []
    for model, said in itertools.product(models, CLAIMS.values()):
        for claim in said.claims:
            block = config["analyses"][claim.analysis]
            for dataset in block["datasets"] if "datasets" in block else [block["dataset"]]:
                verdict = VERDICTS[int(rng.integers(len(VERDICTS)))]
                value = np.nan if verdict == "not applicable" else rng.normal(0, 10.0 ** rng.integers(-3, 3))
                for part in claim.parts:
                    rows.append({
                        "model": model, "dataset": dataset, "analysis": claim.analysis, "claim": claim.id,
                        "part": part.name, "decides": part.decides, "verdict": verdict, "claim_verdict": verdict,
                        "value": value, "low": value - 1, "high": value + 1, "confidence": 0.95, "p": 0.01, "q": 0.02,
                        "tests": 30 + number_of(model), "n": 50, "effect": 1.0, "says": claim.says,
                        "published": 0.5 if number_of(model) == 0 else np.nan, "control_value": np.nan, "needed": None,
                        "by_construction": "partly" if claim.id == "A1" else "",
                        **dict.fromkeys(("holds", "unit", "effect_kind", "partner", "control", "reason", "note",
                                         "measure", "needs", "source"), ""),
                    })  # fmt: skip
    return {"claims": ([pd.DataFrame(rows)], lambda _: {})}


def _costs(config, models, layers, heads, rng):
    rules = {
        "download": ["download_model"],
        "extract": ["extract_sinks", "extract_saliency"],
        "plot": ["plot_sink_rates"],
    }
    parts = []
    for (stage, names), model in itertools.product(rules.items(), models):
        for rule in names:
            own = "" if stage == "plot" else model
            if own or model == models[0]:
                parts.append(
                    pd.DataFrame([{
                        "stage": stage, "rule": rule, "model": own, "dataset": "", "jobs": 1 + number_of(model),
                        "seconds": 10.0 * rng.random(), "seconds_longest": 5.0, "cpu_seconds": 3.0,
                        "memory_mib": 1000 * rng.random(), "rows": 5, "unit": "prompts", "rows_per_second": 1.0,
                        "device": "" if stage == "plot" else "cpu", "device_mib": 0.0,
                    }])
                )  # fmt: skip
    return {"costs": (parts, lambda _: {})}


MAKERS = {
    "sinks": sinks,
    "head_types": head_types,
    "meaningless_tokens": meaningless,
    "head_categories": categories,
    "relation_effect": relation_effect,
    "relation_dynamic": relation_dynamic,
    "mink": _mink,
    "membership": _membership,
    "safety_heads": _safety,
    "saliency": _saliency,
    "span_saliency": _spans,
    "heads": _heads,
    "claims": _claims,
    "costs": _costs,
}
