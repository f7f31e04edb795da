"""Checks of analyses.mink, analyses.membership and their figures that a schema cannot make."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from atlas.config.analyses import first_of
from atlas.config.by_model import block_of, table_made
from atlas.config.problems import nearest

_OF_ANSWERS = ("score_gap", "discrepancy", "depth_accuracy")


def makes(table: str, block: dict[str, Any], dataset: str) -> bool:
    """Whether there is this table of a model with this block: nothing is judged where no answers are made or come."""
    if table not in _OF_ANSWERS:
        return True
    asked = block["answered_datasets"] == "all" or dataset in block["answered_datasets"]
    return asked and (block["judge"]["kind"] == "column" or block["predictions"]["questions"] != 0)


def unused(name: str, block: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """What is said of answers and their scores, where there are none."""
    if name == "mink" and block["judge"]["kind"] != "column" and block["predictions"]["questions"] == 0:
        for option in ("predictions.max_new_tokens", "threshold", "successors", "by"):
            yield option, "predictions.questions is 0, so nothing is answered"


def problems(where: str, block: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """What is wrong in a block of Min-K% by depth, or of membership, told apart by where it stands."""
    yield from (_membership if where.endswith(".membership") else _depth)(where, block)


def _membership(where: str, block: dict[str, Any]) -> Iterator[str]:
    """The reference model must be one that the analysis runs."""
    if block["reference"] is not None and block["reference"] not in block["models"]:
        yield (
            f"{where}.reference: {block['reference']!r} is not among analyses.membership.models; "
            f"{nearest(block['reference'], block['models'])}"
        )


def _depth(where: str, block: dict[str, Any]) -> Iterator[str]:
    """Parameters of the judge's requests that are asked for in another way, or whose answers are not read; answers
    that are scored but not made; data sets to answer that are none of the analysis."""
    if block["answered_datasets"] != "all":
        for dataset in block["answered_datasets"]:
            if dataset not in block["datasets"]:
                yield (
                    f"{where}.answered_datasets: {dataset!r} is not among analyses.mink.datasets; "
                    f"{nearest(dataset, block['datasets'])}"
                )
        unasked = [dataset for dataset in block["datasets"] if dataset not in block["answered_datasets"]]
        if unasked and "prediction" in block["texts"]:
            yield (
                f"{where}.answered_datasets: {', '.join(unasked)} has no answers, but analyses.mink.texts scores "
                "`prediction`; add it or take `prediction` out."
            )
    if "zero_shot" not in block["prompts"]:
        yield f"{where}.prompts: zero_shot is not among them; add it, the others are compared with it."
    if block["judge"]["kind"] == "column" and block["prompts"] != ["zero_shot"]:
        yield (
            f"{where}.prompts: the scores of judge.kind: column came with the data, so nothing is answered; write "
            "prompts: [zero_shot]."
        )
    if block["predictions"]["questions"] == 0 and "prediction" in block["texts"]:
        yield f"{where}.predictions.questions: 0 makes no answers, but analyses.mink.texts scores `prediction`."
    for key in block["judge"]["api"]["request"]:
        if key in ("model", "messages"):
            yield f"{where}.judge.api.request.{key}: leave it out; the judge itself sets it."
        elif key in ("stream", "n", "tools", "tool_choice", "logprobs"):
            yield f"{where}.judge.api.request.{key}: leave it out; one whole answer in words is read."


def figure_problems(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """What is wrong in a figure of Min-K% by depth, of answers by prompt, or of membership."""
    checks = {"membership_roc": _roc, "depth_prompts": _prompts}
    yield from checks.get(figure["plot"], _boxes)(where, figure, config)


def _prompts(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Only models that answer have scores; all means those."""
    block = config["analyses"]["mink"]
    known = [model for model in figure["models"] if model in block["models"]]
    answering = [model for model in known if table_made("depth_accuracy", model, figure["dataset"], config)]
    if figure["models"] == block["models"]:
        figure["models"] = answering
    for model in figure["models"]:
        if model in known and model not in answering:
            yield f"{where}.models: {model} gives no answers to {figure['dataset']}; take it out."


def _roc(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """K is one of the analysis; a curve of the reference needs one."""
    block = config["analyses"]["membership"]
    yield from first_of(where, figure, "k_percent", "membership.k_percent", block)
    if figure["measures"] is None:
        return
    for measure, there, wanted in (
        ("reference", any(block_of("membership", key, config)["reference"] for key in figure["models"]), "reference"),
        ("lowercase", any(block_of("membership", key, config)["lowercase"] for key in figure["models"]), "lowercase"),
    ):
        if measure in figure["measures"] and not there:
            yield f"{where}.measures: {measure} is not measured; give analyses.membership.{wanted} or take it out."


def _boxes(where: str, figure: dict[str, Any], config: dict[str, Any]) -> Iterator[str]:
    """Models and data set of the lower row, K and text are those of the analysis."""
    block = config["analyses"]["mink"]
    if figure["kde_dataset"] is None:
        figure["kde_dataset"] = figure["dataset"]
    elif figure["kde_dataset"] not in block["datasets"]:
        near = nearest(figure["kde_dataset"], block["datasets"])
        yield f"{where}.kde_dataset: {figure['kde_dataset']!r} is not among analyses.mink.datasets; {near}"
        return
    answering = [m for m in block["models"] if table_made("score_gap", m, figure["kde_dataset"], config)]
    if figure["kde_models"] == "all":
        figure["kde_models"] = [model for model in figure["models"] if model in answering]
    for model in figure["kde_models"]:
        if model in block["models"] and model not in answering:
            yield (
                f"{where}.kde_models: {model} gives no answers to {figure['kde_dataset']} (analyses.mink.predictions."
                "questions: 0, or analyses.mink.answered_datasets); take it out."
            )
        if model not in block["models"]:
            yield f"{where}.kde_models: {model!r} is not among analyses.mink.models; {nearest(model, block['models'])}"
    yield from first_of(where, figure, "k_percent", "mink.k_percent", block)
    yield from first_of(where, figure, "text", "mink.texts", block)
    figure["average"] = block["average"]


def panels(option: str, figure: dict[str, Any]) -> list[str]:
    """The x axis that can be set is that of the lower row where there is one, the y axis that of the upper one."""
    return figure["kde_models" if option.startswith("x") and "kde_models" in figure else "models"]
