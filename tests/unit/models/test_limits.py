"""What a model can be given is asked in one place: of its configuration, and by every analysis that runs a text."""

import json
import random

import pandas as pd
import pytest

import families
from atlas.analyses.head_categories.pairs import single_token_pairs
from atlas.analyses.meaningless_tokens.prompts import build_prompts
from atlas.analyses.mink.answers import question_prompts
from atlas.analyses.mink.scored_texts import scored_texts
from atlas.analyses.safety_heads.queries import SHIPS, build_queries
from atlas.analyses.saliency.prompts import ask
from atlas.analyses.sinks.extract import sequences
from atlas.errors import AtlasError
from atlas.models.limits import LONG, UNKNOWN, Limits, read_limits
from byte_tokenizer import prompter, tokenizer

LONGROPE = {"rope_type": "longrope", "factor": 4.0, "short_factor": [1.0] * 4, "long_factor": [3.0] * 4}


def config(**values):
    return {"model_type": "llama", "hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 6,
            "num_key_value_heads": 2, "vocab_size": 199, "max_position_embeddings": 64, **values}  # fmt: skip


@pytest.mark.parametrize("name", sorted(families.FAMILIES))
def test_limits_are_those_of_the_model(name, tmp_path):
    model = families.build(name)
    model.config.save_pretrained(tmp_path)
    limits = read_limits(tmp_path)
    assert limits.vocabulary == model.get_input_embeddings().num_embeddings
    stated = model.config.get_text_config()
    assert limits.tokens == getattr(stated, "max_position_embeddings", None)
    assert read_limits(stated.to_dict()) == limits  # as a job has it once the model is loaded


@pytest.mark.parametrize(
    ("values", "tokens"),
    [
        ({}, 64),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, 64),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.0}, "max_position_embeddings": 32}, 32),
        ({"rope_parameters": {**LONGROPE, "original_max_position_embeddings": 16}}, 16),
        ({"rope_scaling": {**LONGROPE, "type": "su"}, "original_max_position_embeddings": 20}, 20),
        ({"rope_scaling": LONGROPE}, 64),
        ({"rope_parameters": {"full_attention": {**LONGROPE, "original_max_position_embeddings": 24},
                              "sliding_attention": {"rope_type": "default"}}}, 24),
        ({"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 16}}, 64),
        ({"rope_parameters": {"rope_type": "linear", "factor": 4.0}}, 64),
    ],
)  # fmt: skip
def test_a_rotation_that_follows_the_batch_ends_where_it_begins_to(values, tokens, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(config(**values)))
    assert read_limits(tmp_path).tokens == read_limits(config(**values)).tokens == tokens


def test_a_text_at_the_limit_is_taken_and_one_beyond_is_not():
    limits = Limits(8, 10)
    assert limits.objection([9] * 8) is None
    assert limits.objection([9] * 9) == limits.objection([9] * 4, new_tokens=5) == LONG
    assert limits.objection([3, 10]) == limits.objection([-1]) == UNKNOWN
    assert Limits(None, 10).objection([1] * 10_000) is None


def drawn(seed):
    """(texts, limits) of a model that takes some of them: bytes are tokens, so length and letters decide."""
    random_ = random.Random(seed)
    texts = ["".join(random_.choices("abcxyz ", k=random_.randint(3, 60))) + "q" for _ in range(12)]
    ids = tokenizer().get_vocab()
    return texts, Limits(random_.choice([None, 70, 90]), random_.choice([ids["x"], ids["z"], 400]))


def builders(texts, limits):
    """{analysis: () -> (rows of ids that it would run, how many texts it dropped by reason, texts given)}."""
    asks, number = prompter(tokenizer()), len(texts)
    rows = pd.DataFrame({"id": [str(i) for i in range(number)], "text": texts})
    table = pd.DataFrame({"id": rows["id"], "question": texts, "answers": [["bob"]] * number})
    graph = pd.DataFrame({"id": rows["id"], "question": texts, "depth": 3, "predecessors": [[]] * number})
    depth = [{"number": i, "question": text, "answer": "a", "prediction": None} for i, text in enumerate(texts)]
    span = {"kind": "repeat", "string": "/", "count": 2, "separator": "", "seed": 0}
    options = {"system": "", "template": "chat", "span": span, "insertion": "ids", "max_tokens": 1000}
    predictions = {"questions": None, "seed": 0, "max_new_tokens": [9, 9, 9], "batch_size": 1}
    mink = {"template": "raw", "system": None, "limits": limits}
    shown = [{"question": "where", "answer": "b", "long_answer": "b"}]

    def queries():
        kept, report = build_queries(asks, rows, "## {q}\n", limits, SHIPS, new_tokens=7)
        return [(*ids, *[0] * 7) for ids in kept], {name: len(who) for name, who in report["dropped"].items()}

    def meaningless():
        kept, report = build_prompts(asks, texts, options, limits)
        return [prompt.with_span for prompt in kept], report["dropped"]

    def scored():
        kept, report = scored_texts(asks, depth, "answer", max_tokens=1000, **mink)
        return [text.ids for text in kept], report["dropped"]

    def predicted():
        kept, dropped = question_prompts(asks, graph, predictions, **mink)
        return [(*ids, *[0] * new) for _, ids, new in kept], dropped

    def answered():
        kept, _, dropped = ask(asks, table, shown, prompt="chat", limits=limits, max_new_tokens=8)
        return [(*item.ids, *[0] * 8) for item in kept], {name: len(who) for name, who in dropped.items()}

    return {"queries": queries, "meaningless": meaningless, "scored": scored, "predicted": predicted, "qa": answered}


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("analysis", ["queries", "meaningless", "scored", "predicted", "qa"])
def test_no_analysis_runs_what_the_model_cannot_be_given(analysis, seed):
    texts, limits = drawn(seed)
    without_limits, _ = builders(texts, Limits(None, 1 << 40))[analysis]()
    possible = [ids for ids in without_limits if limits.objection(ids) is None]
    if not possible:
        with pytest.raises(AtlasError, match="none of"):
            builders(texts, limits)[analysis]()
        return
    rows, dropped = builders(texts, limits)[analysis]()
    assert rows == possible
    assert len(rows) + sum(dropped.values()) == len(texts)


def natural(texts, limits, kind="natural", number=2, length=8):
    return sequences(kind, tokenizer(), texts, length=length, number=number, start=(), seed=0, limits=limits)


def test_sinks_take_known_tokens_and_no_more_than_the_context():
    known = Limits(64, tokenizer().get_vocab()["z"])
    rows, dropped = natural(["abcdefgh", "zzzzzzzz", "ab", "abcdefghi"], known)
    assert len(rows) == 2
    assert dropped == {"too short": 1, UNKNOWN: 1}
    drawn_ids, _ = natural([], known, "random", number=400)
    assert drawn_ids.max() < known.vocabulary
    with pytest.raises(AtlasError, match=r"sinks\.length is 8, but the model takes at most 4 tokens"):
        natural(["abcdefgh"], Limits(4, 1000))
    with pytest.raises(AtlasError, match="1 hold a token that the model does not know"):
        natural(["zzzzzzzz"], known)


def test_words_beyond_the_embedding_count_as_unknown():
    pairs = pd.DataFrame({"relation": "r", "category": "c", "source": ["a", "b", "c"], "target": ["b", "c", "z"]})
    limits = Limits(64, tokenizer().get_vocab()["z"])
    kept, report = single_token_pairs(pairs, tokenizer(), limits, leading_space="never", minimum=1)
    assert kept["target"].tolist() == ["b", "c"]
    assert report["unknown_token"].tolist() == [1]
