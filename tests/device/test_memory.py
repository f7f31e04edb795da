"""What jobs ask of a GPU is what their stages take on one that is not there, as counts of bytes."""

import random

import numpy as np
import pandas as pd
import pytest

from atlas.analyses.head_categories.causal import Completing
from atlas.analyses.head_categories.completions import Completion
from atlas.analyses.head_categories.dynamic import dynamic_hits
from atlas.analyses.head_categories.dynamic_prompts import Placed
from atlas.analyses.head_categories.extract import map_heads
from atlas.analyses.head_types.extract import head_scores
from atlas.analyses.meaningless_tokens import extract as meaningless_tokens
from atlas.analyses.meaningless_tokens.prompts import SpanPrompt
from atlas.analyses.mink import extract as mink
from atlas.analyses.mink.scored_texts import ScoredText
from atlas.analyses.safety_heads import extract as safety_heads
from atlas.analyses.safety_heads.ablated_generation import answers
from atlas.analyses.saliency import extract as saliency
from atlas.analyses.saliency import hidden_states
from atlas.analyses.saliency.answered_samples import AnsweredSample
from atlas.analyses.saliency.flow_batches import extract_flows
from atlas.analyses.saliency.marked_prompts import MarkedPrompt, NamedFlow
from atlas.analyses.saliency.span_flows import span_flows
from atlas.analyses.sinks.extract import column_means
from atlas.models.architectures import mlp_states, read_config, read_shape
from atlas.models.generation import Prompt, generate
from atlas.models.loading import load_model, load_tokenizer
from atlas.models.weights import WeightReader
from atlas.planning.estimates import Job, Size
from atlas.planning.resources import STAGES
from pretend_gpu import pretend_gpus
from tiny_models import save_folder

DRAWN = random.Random(0)
COMMON = {"num_attention_heads": 4, "max_position_embeddings": 4096}
# Each has one thing in plenty: width, vocabulary, layers.
SHAPES = {
    "wide": {**COMMON, "hidden_size": 192, "num_hidden_layers": 3, "num_key_value_heads": 2, "head_dim": 48,
             "intermediate_size": 640, "vocab_size": 1000},
    "vocabulary": {**COMMON, "hidden_size": 64, "num_hidden_layers": 3, "num_key_value_heads": 2, "head_dim": 16,
                   "intermediate_size": 160, "vocab_size": 16000},
    "deep": {**COMMON, "hidden_size": 64, "num_hidden_layers": 10, "num_key_value_heads": 4, "head_dim": 16,
             "intermediate_size": 224, "vocab_size": 500},
    # Not gated, and its activation is computed step by step.
    "gpt2": {"n_embd": 128, "n_layer": 3, "n_head": 4, "n_positions": 4096, "vocab_size": 1000},
}  # fmt: skip
TOKENS, TEXTS, PREFIX, NEW = 64, 8, 960, 8  # as resources.py of saliency has them
BATCH = TOKENS * TEXTS
BEFORE = 512 - TOKENS - NEW  # of a short answer


def ids(count):
    return tuple(DRAWN.randrange(5, 190) for _ in range(count))


SHARED = ids(PREFIX)


def sample(number):
    text = ids(TOKENS)
    end = PREFIX + TOKENS
    answer = tuple(range(end - 8, end))
    return AnsweredSample(number, SHARED + text, (PREFIX, PREFIX + 2), answer, (PREFIX, PREFIX + 3))


def spanned(_):
    question = ids(TOKENS - 6)
    return SpanPrompt(question, question[:4] + ids(1) * 6 + question[4:], 4, 0, 6, TOKENS - 10, 0)


SAMPLES = [sample(i) for i in range(TEXTS)]
SCORED = [ScoredText(i, ids(TOKENS), (False,) + (True,) * (TOKENS - 1)) for i in range(TEXTS)]
SPANNED = [spanned(i) for i in range(TEXTS)]
QUERIES = [ids(TOKENS) for _ in range(4)]
QUESTIONS = [Prompt(i, SHARED[:BEFORE] + ids(TOKENS), NEW) for i in range(TEXTS)]
LONG = [Prompt(i, ids(256), NEW) for i in range(TEXTS)]
BEHIND = [Prompt(i, ids(5 * 256), NEW) for i in range(2)]
RELATION = [Completion(ids(24), 7, "a", "b", 20) for _ in range(TEXTS)]
# As many as of twenty relations.
PLACED = [[Placed(ids(24), 20)] for _ in range(20 * TEXTS)]
SEQUENCES = np.array([ids(TOKENS) for _ in range(TEXTS)])
# As resources.py has them: the answer's token is the last.
NAMED = [NamedFlow("S_wp", "text", "label"), NamedFlow("S_pq", "label", "predicting"), NamedFlow("S_ww")]
PARTS = {"text": tuple(range(127)), "predicting": (126,), "label": (20, 50, 80, 110)}
MARKED = [MarkedPrompt(i, ids(128), (127,), {"marked": PARTS, "random": PARTS}, 0) for i in range(BATCH // 128)]
PAIRS = pd.DataFrame({"relation": ["a"] * 2000, "source_id": np.arange(2000) + 5, "target_id": np.arange(2000)[::-1]})
VARIANTS = [("scaling", [(0, 0)]), ("scaling", [(1, 1)]), ("scaling", [(2, 1)]), ("scaling", [(0, 2)])]


def flows(model, losses):
    rng, config = np.random.default_rng(0), model.config
    probe = saliency.SampleProbe(
        config.num_hidden_layers, rng.normal(size=(TEXTS, config.hidden_size)), rng.normal(size=TEXTS)
    )
    given = None if losses == ["answer_nll"] else probe
    return saliency.extract(model, SAMPLES, SHARED, losses=losses, sample_probe=given, batch_tokens=BATCH)


def saliency_of(*losses):
    return "extract_saliency", {"batch_tokens": BATCH, "loss": list(losses)}, lambda _, m, __: flows(m, list(losses))


# name -> (stage, options, (folder, model, tokenizer) -> what the stage does)
MEASURED = {
    "sinks": ("extract_sinks", {"batch_tokens": BATCH, "length": TOKENS},
              lambda _, model, __: column_means(model, SEQUENCES, batch_tokens=BATCH)),
    "head types": ("extract_head_types", {"batch_tokens": BATCH, "length": TOKENS // 2},
                   lambda _, model, __: head_scores(model, SEQUENCES, TOKENS // 2, batch_tokens=BATCH)),
    "attention": ("extract_attention", {"batch_tokens": BATCH, "max_tokens": TOKENS},
                  lambda _, model, __: meaningless_tokens.extract(model, SPANNED, batch_tokens=BATCH)),
    "log-probabilities": ("extract_token_logprobs", {"batch_tokens": BATCH},
                          lambda _, model, __: mink.extract(model, {"answer": SCORED}, batch_tokens=BATCH)),
    "hidden states": ("extract_hidden_states", {"batch_tokens": BATCH},
                      lambda _, model, __: hidden_states.extract(model, SAMPLES, SHARED, batch_tokens=BATCH)),
    "saliency of the probe": saliency_of("probe_logit"),
    "saliency of the answer": saliency_of("answer_nll"),
    "saliency between spans": ("extract_span_saliency", {"batch_tokens": BATCH}, lambda _, model, __: extract_flows(
        model, MARKED, (), span_flows(NAMED), backward=["answer_nll"], batch_tokens=BATCH)),
    "saliency of both": saliency_of("probe_bce", "answer_nll"),
    "short answers": ("generate_qa_answers", {"batch_size": TEXTS},
                      lambda _, model, __: generate(model, QUESTIONS, [1], batch_size=TEXTS, prefix=BEFORE)),
    "answers": ("generate_answers", {"predictions": {"batch_size": TEXTS, "max_new_tokens": [2, NEW]}},
                lambda _, model, __: generate(model, LONG, [1], batch_size=TEXTS)),
    "answers behind others": ("generate_context_answers",
                              {"predictions": {"batch_size": 8, "max_new_tokens": [2, NEW]}},
                              lambda _, model, __: generate(model, BEHIND, [1], batch_size=2)),
    "completed relations": ("complete_relations", {"max_rows": TEXTS, "prompts": TEXTS},
                            lambda _, model, __: Completing(
                                model, (), positions="last", ablation="zero", max_rows=TEXTS,
                            ).answers(RELATION, [[(0, 0)], [(1, 1)]])),
    "relation hits": ("extract_relation_hits", {"max_rows": TEXTS, "pairs": TEXTS, "templates": ["a"]},
                      lambda folder, model, _: dynamic_hits(
                          model, WeightReader(folder, device="cuda"), PLACED, range(len(PLACED)), [10] * len(PLACED),
                          max_rows=TEXTS)),
    "head ablations": ("extract_head_ablations", {"max_rows": 16},
                       lambda _, model, __: safety_heads.extract(
                           model, QUERIES, ablations=["undifferentiated", "scaling"], epsilon=1e-5, max_rows=16)),
    "ablated answers": ("generate_ablated", {"max_rows": 16, "new_tokens": NEW},
                        lambda _, model, tokenizer: answers(
                            model, tokenizer, QUERIES, VARIANTS, epsilon=1e-5, new_tokens=NEW, ends=[1], max_rows=16)),
    "head mappings": ("extract_head_mappings", {"memory_mb": 200},
                      lambda folder, *_: map_heads(folder, PAIRS, k_max=20, device="cuda", memory_mb=200)),
    "salient operations": ("extract_head_mappings", {"memory_mb": 200, "salient_tokens": 10},
                           lambda folder, *_: map_heads(
                               folder, PAIRS, k_max=20, device="cuda", memory_mb=200, salient=(range(16000), 10, 10))),
}  # fmt: skip


def saved(folder, shape):
    """(folder of a model, its Size)."""
    folder = save_folder(folder / "model", "gpt2" if shape == "gpt2" else "llama", **SHAPES[shape])
    config = read_config(folder)
    with pretend_gpus(1):
        parameters = load_model(folder, dtype="float32", device="cuda").num_parameters()
    record = {"parameters": parameters, "dtype": "float32"}
    return folder, Size.of(read_shape(config), record, mlp_states(config))


def test_every_stage_is_measured():
    others = {"extract_exact_answers", "search_head_groups", "extract_membership"}
    assert {stage for stage, *_ in MEASURED.values()} == set(STAGES) - others
    # These are others under another name.
    assert STAGES["extract_membership"].memory is STAGES["extract_token_logprobs"].memory
    assert STAGES["extract_exact_answers"] is STAGES["generate_qa_answers"]
    assert STAGES["search_head_groups"].memory is STAGES["extract_head_ablations"].memory


def peak(run, folder, dtype):
    """(bytes of the weights, bytes that were held at most beside them)."""
    with pretend_gpus(1, roots=("scripts/atlas",)) as gpus:
        loaded, tokenizer = load_model(folder, dtype=dtype, device="cuda"), load_tokenizer(folder)
        weights = gpus.live["cuda:0"]
        gpus.peak.clear()
        run(folder, loaded, tokenizer)
        return weights, gpus.peak["cuda:0"] - weights


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ("wide", "float32"),
        ("gpt2", "float32"),
        ("vocabulary", "float32"),
        ("vocabulary", "bfloat16"),
        pytest.param("deep", "bfloat16", marks=pytest.mark.long),
    ],
)
def test_asked_for_is_what_is_taken(shape, dtype, tmp_path):
    """Within a quarter, without the weights."""
    folder, size = saved(tmp_path, shape)
    found = {}
    for name, (stage, options, run) in MEASURED.items():
        if stage == "extract_head_mappings" and (shape, dtype) != ("vocabulary", "float32"):
            continue  # always float32, and for tiles that a vocabulary fills
        weights, taken = peak(run, folder, dtype)
        rows = len(QUERIES) if "ablat" in name else 20 * TEXTS if "relation" in name else TEXTS
        job = Job(size, options, rows=rows, gpu=True, dtype=dtype)
        found[name] = round(STAGES[stage].memory(job).total * 1e6 / taken, 2)
        assert weights == pytest.approx(size.parameters * job.bytes, rel=0.02)
    assert {name: ratio for name, ratio in found.items() if not 0.8 <= ratio <= 1.25} == {}, found
