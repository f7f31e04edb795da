"""More shards than there is to share: those that have nothing leave empty arrays, and all together are the whole."""

import numpy as np
import pytest

import device_stages as stages
from atlas.analyses.head_types import storage as head_types
from atlas.analyses.meaningless_tokens import storage as attention
from atlas.analyses.mink import storage as mink
from atlas.analyses.safety_heads import storage as safety_heads
from atlas.analyses.saliency import storage as saliency
from atlas.models.generation import generate
from atlas.results.shards import merge_samples
from tiny_models import build

SHARDS = 9
# name -> (how its shards are joined, the extraction of a few made texts)
EXTRACTIONS = {
    "sinks": (
        lambda parts: merge_samples(parts, "sequence"),
        lambda model, **part: stages.column_means(model, stages.SEQUENCES, batch_tokens=72, **part),
    ),
    "head types": (
        head_types.merge,
        lambda model, **part: stages.head_scores(model, stages.TWICE, 11, batch_tokens=66, **part),
    ),
    "attention": (
        attention.merge,
        lambda model, **part: stages.meaningless_tokens.extract(model, stages.PROMPTS, batch_tokens=120, **part),
    ),
    "log-probabilities": (
        mink.merge,
        lambda model, **part: stages.mink.extract(
            model, {"answer": stages.TEXTS, "question": stages.TEXTS[:3]}, batch_tokens=80, **part
        ),
    ),
    "hidden states": (
        saliency.merge,
        lambda model, **part: stages.hidden_states.extract(
            model, stages.SAMPLES, stages.PREFIX, batch_tokens=40, **part
        ),
    ),
    "saliency": (
        saliency.merge,
        lambda model, **part: stages.saliency.extract(
            model, stages.SAMPLES, stages.PREFIX, losses=["probe_bce", "probe_logit", "answer_nll"],
            sample_probe=stages.probe(model), batch_tokens=60, **part,
        ),
    ),
    "saliency between spans": (
        saliency.merge,
        lambda model, **part: stages.extract_flows(
            model, stages.MARKED, (), stages.span_flows(stages.NAMED), backward=["answer_nll"], batch_tokens=60, **part
        ),
    ),
    "head ablations": (
        safety_heads.merge,
        lambda model, **part: stages.safety_heads.extract(
            model, stages.QUERIES, ablations=stages.ABLATIONS, epsilon=1e-5, **part
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EXTRACTIONS)
def test_shards_without_work_change_nothing(name):
    model = build("llama")
    merge, extract = EXTRACTIONS[name]
    parts = [extract(model, shard=shard, shards=SHARDS) for shard in range(1, SHARDS + 1)]
    whole, joined = merge([extract(model)]), merge(parts)
    assert whole.keys() == joined.keys()
    for key, array in whole.items():
        assert (array.dtype, array.shape) == (joined[key].dtype, joined[key].shape), key
        np.testing.assert_array_equal(array, joined[key], err_msg=key)
    assert sum(len(part[next(iter(part))]) == 0 for part in parts) > 0


def test_a_shard_of_answers_without_prompts_is_empty():
    model = build("llama")
    parts = [
        generate(model, stages.ASKED, [], batch_size=4, prefix=3, shard=shard, shards=SHARDS)
        for shard in range(1, SHARDS + 1)
    ]
    whole = generate(model, stages.ASKED, [], batch_size=4, prefix=3)
    assert [] in [list(part) for part in parts]
    assert sorted((one.number, one.ids) for part in parts for one in part) == sorted(
        (one.number, one.ids) for one in whole
    )
