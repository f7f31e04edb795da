"""Questions asked behind those that they build on: prompts by hand, answers by prompt, tables and figure."""

import numpy as np
import pandas as pd
import pytest

import byte_tokenizer
from atlas.analyses.mink import plot_depth_prompts
from atlas.analyses.mink.answers import NO_ANSWERS, all_answers, context_frame, context_prompts
from atlas.analyses.mink.score_gaps import accuracy_table, discrepancy_table, judged_as
from atlas.analyses.mink.tables import TABLES
from atlas.errors import AtlasError
from atlas.models.generation import Answer
from atlas.models.limits import Limits
from atlas.results.tables import conform

#         id  depth predecessors
ROWS = [("x", 1, []), ("y", 1, []), ("a", 2, ["x", "y"]), ("b", 2, ["y"]), ("p", 3, ["a", "b"])]
PREDICTIONS = {"questions": None, "seed": 0, "max_new_tokens": [3, 5, 7], "batch_size": 4}
INTERVAL = {"confidence": 0.95, "draws": 100, "seed": 0}
LEAD = "Questions that the last one builds on, with their answers:\n\n"


def table():
    frame = pd.DataFrame(ROWS, columns=["id", "depth", "predecessors"])
    return frame.assign(question=[f"{name}?" for name in frame["id"]], answer=[f"gold {n}." for n in frame["id"]])


def zero_shot(numbers=range(5)):
    return pd.DataFrame({"number": list(numbers), "prediction": [f"own {ROWS[i][0]}." for i in numbers]})


def asked(answers=None, kinds=("gold", "predicted"), limit=None, template="raw"):
    tokens = byte_tokenizer.tokenizer()
    given = zero_shot() if answers is None else answers
    found = context_prompts(
        byte_tokenizer.prompter(tokens), table(), given, kinds, PREDICTIONS,
        template=template, system=None, limits=Limits(limit, 300),
    )  # fmt: skip
    return tokens, *found


def test_the_prompt_holds_what_a_question_builds_on_and_nothing_else():
    tokens, prompts, order, dropped = asked()
    told = {pair: tokens.decode(ids) for pair, (_, ids, _) in zip(order, prompts, strict=True)}
    assert list(told) == [("gold", 2), ("gold", 3), ("gold", 4), ("predicted", 2), ("predicted", 3), ("predicted", 4)]
    pairs = "Q: x?\nA: gold x.\n\nQ: y?\nA: gold y.\n\n"
    assert told["gold", 2] == f"{LEAD}{pairs}The question to answer:\na?\n"
    assert told["predicted", 4] == f"{LEAD}Q: a?\nA: own a.\n\nQ: b?\nA: own b.\n\nThe question to answer:\np?\n"
    assert "gold" not in told["predicted", 2]
    assert [new for *_, new in prompts] == [5, 5, 7, 5, 5, 7]
    assert [place for place, *_ in prompts] == list(range(6))
    assert sum(count for reasons in dropped.values() for count in reasons.values()) == 0
    chat = asked(template="chat")
    assert tokens.decode(chat[1][0][1]) == f"<|user|>{told['gold', 2].rstrip()}<|end|><|assistant|>"


def test_what_cannot_be_asked_is_counted_by_prompt_and_reason():
    *_, order, dropped = asked(zero_shot([2, 4]))  # b has no answer of its own, nor have x and y
    assert order == [("gold", 2), ("gold", 4), ("predicted", 4)]
    assert dropped["predicted"][NO_ANSWERS] == 1
    assert dropped["gold"][NO_ANSWERS] == 0
    lengths = {pair: len(ids) + new for pair, (_, ids, new) in zip(asked()[2], asked()[1], strict=True)}
    limit = sorted(lengths.values())[3]
    *_, order, dropped = asked(limit=limit)
    assert {pair for pair, length in lengths.items() if length <= limit} == set(order)
    assert sum(sum(reasons.values()) for reasons in dropped.values()) == 6 - len(order) > 0
    with pytest.raises(AtlasError, match=r"analyses\.mink\.prompts: no question can be asked behind") as raised:
        asked(limit=20)
    assert "(gold: 3 longer than the model's context; predicted: 3 longer than" in str(raised.value)


def test_answers_keep_their_prompt_and_row():
    tokens, _, order, _ = asked()
    words = [tokens(f"{kind} {row}")["input_ids"] for kind, row in order]
    answers = [Answer(place, tuple(ids), "end", 9) for place, ids in enumerate(words)]
    frame = context_frame(answers, order, table(), tokens)
    assert frame["number"].tolist() == list(range(6))
    assert [f"{row.prompt} {row.row}" for row in frame.itertuples()] == frame["prediction"].tolist()
    assert frame["id"].tolist() == ["a", "b", "p"] * 2
    whole = all_answers(zero_shot(), frame)
    assert whole["number"].tolist() == [0, 1, 2, 3, 4, 2, 3, 4, 2, 3, 4]
    assert whole["prompt"].tolist() == ["zero_shot"] * 5 + ["gold"] * 3 + ["predicted"] * 3
    assert whole["prediction"][6] == "gold 3"
    assert all_answers(zero_shot(), None)["prompt"].unique().tolist() == ["zero_shot"]


def judgements():
    scores = {"zero_shot": [5, 4, 3, 4, 2], "gold": [5, 5, 4], "predicted": [4, 3, 5]}
    rows = [
        (number, ROWS[number][1], float(score), prompt)
        for prompt, own in scores.items()
        for number, score in zip(range(5 - len(own), 5), own, strict=True)
    ]
    return pd.DataFrame(rows, columns=["number", "depth", "score", "prompt"])


def results():
    """The tables discrepancy and depth_accuracy of two models, the second a control."""
    gaps, scores = [], []
    for model in ("m0", "m1"):
        for prompt in ("zero_shot", "gold", "predicted"):
            judged = judged_as(table(), judgements(), prompt)
            keys = {"model": model, "dataset": "d", "judge": "reference", "answers_from": "m0", "prompt": prompt}
            found = discrepancy_table(table(), judged, threshold=4, successor_rule="mean", **INTERVAL)
            gaps.append(conform(found.assign(**keys), TABLES["discrepancy"]))
            found = accuracy_table(table(), judged, **INTERVAL)
            scores.append(conform(found.assign(**keys), TABLES["depth_accuracy"]))
    return pd.concat(gaps, ignore_index=True), pd.concat(scores, ignore_index=True)


def test_questions_that_build_on_nothing_have_one_answer_under_all_prompts():
    gaps, scores = results()
    own = scores[scores["model"] == "m0"].pivot(index="depth", columns="prompt", values="score")
    assert own.loc[1].tolist() == [4.5] * 3
    assert own.loc[2, ["zero_shot", "gold", "predicted"]].tolist() == [3.5, 5, 3.5]
    assert own.loc[3, ["zero_shot", "gold", "predicted"]].tolist() == [2, 4, 5]
    forward = gaps[(gaps["model"] == "m0") & (gaps["direction"] == "forward")].set_index(["prompt", "depths"])["value"]
    # a: mean of x and y 4.5; b: y 4
    assert forward["zero_shot", "D1-D2"] == pytest.approx((1.5 / 4 + 0) / 2)
    assert forward["predicted", "D1-D2"] == pytest.approx((0.5 / 4 + 1 / 4) / 2)
    assert forward["gold", "D1-D2"] == 0
    assert forward["gold", "D2-D3"] == pytest.approx(1 / 4)
    assert np.isnan(forward["zero_shot", "D2-D3"])


def test_the_figure_shows_every_prompt_and_says_what_it_counts():
    gaps, scores = results()
    documents = {
        f"results/metrics/{model}/depth_accuracy/d.parquet": {
            "metric_options": {"confidence": 0.95},
            "context": {"dropped": {"gold": {"longer": 2}, "predicted": {"longer": 0}}},
        }
        for model in ("m0", "m1")
    }
    labels = {"m0": "Alpha", "m1": "Beta"}
    options = {"models": ["m0", "m1"], "dataset": "d", "dataset_label": "graphs", "model_labels": labels}
    options |= {"title": "{label}", "width": 7, **dict.fromkeys(("xlim", "ylim", "xticks", "yticks"))}
    figure, caption = plot_depth_prompts.draw(
        {"depth_accuracy": scores, "discrepancy": gaps}, options, {"depth_accuracy": documents, "discrepancy": {}}
    )
    legend = [text.get_text() for text in figure.legends[0].get_texts()]
    assert legend == ["question alone", "behind gold answers", "behind own answers"]
    above = figure.axes[0]
    drawn = {line.get_label(): line.lines[0].get_ydata().tolist() for line in above.containers}
    assert drawn["behind gold answers"] == [4.5, 5, 4]
    assert "Alpha: question alone: 2 at depth 1, 2 at depth 2, 1 at depth 3" in caption
    assert "(2 longer (behind gold answers) left out)." in caption
    assert caption.endswith("A control's answers and scores are its base's.")
    assert "where that reaches 4, over 4; by question. Bars: 95% bootstrap" in caption
