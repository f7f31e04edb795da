"""One layer of a 70B-shaped model: what is needed in memory is that layer, the unembedding and the configured chunk."""

import json
import threading
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file

from atlas.analyses.head_categories.extract import map_heads
from atlas.models.weights import WeightReader

WIDTH, HEADS, KV_HEADS, VOCABULARY = 8192, 64, 8, 128256
MEMORY_MB = 700


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """bf16 safetensors of layer 5 alone: 2 GiB of tied embeddings, 134 MB of W_O, 17 MB of W_V."""
    path = tmp_path_factory.mktemp("large")
    config = {
        "model_type": "llama", "hidden_size": WIDTH, "num_attention_heads": HEADS, "num_key_value_heads": KV_HEADS,
        "num_hidden_layers": 80, "vocab_size": VOCABULARY, "intermediate_size": 28672, "tie_word_embeddings": True,
        "max_position_embeddings": 8192, "rms_norm_eps": 1e-5, "hidden_act": "silu",
    }  # fmt: skip
    (path / "config.json").write_text(json.dumps(config))
    generator = np.random.default_rng(0)

    def draw(rows, columns):
        """Uniform among 256 values that bf16 holds exactly; far faster than a billion normal draws."""
        values = torch.frombuffer(bytearray(generator.bytes(rows * columns)), dtype=torch.int8)
        return values.view(rows, columns).to(torch.bfloat16).mul_(2.0**-13)

    save_file(
        {
            "model.embed_tokens.weight": draw(VOCABULARY, WIDTH),
            "model.layers.5.self_attn.v_proj.weight": draw(KV_HEADS * WIDTH // HEADS, WIDTH),
            "model.layers.5.self_attn.o_proj.weight": draw(WIDTH, WIDTH),
        },
        path / "model.safetensors",
    )
    yield path
    (path / "model.safetensors").unlink()  # pytest keeps folders; not this one


def anonymous_mib():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="memory is read from /proc")
def test_one_layer_streams_within_the_bound(folder):
    generator = np.random.default_rng(0)
    pairs = pd.DataFrame({"relation": "r", "source_id": generator.choice(VOCABULARY, 40, replace=False)})
    pairs["target_id"] = generator.choice(VOCABULARY, 40, replace=False)
    WeightReader(folder)  # imports are no working memory
    peak, base, stop = [0.0], anonymous_mib(), threading.Event()

    def watch():
        while not stop.wait(0.005):
            peak[0] = max(peak[0], anonymous_mib() - base)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        result = map_heads(folder, pairs, [5], heads=[0, 63], first_mlp=False, memory_mb=MEMORY_MB, k_max=64)
    finally:
        stop.set()
        watcher.join()
    # U and the layer stay mapped from their file: memory that the system may take back.
    assert peak[0] < MEMORY_MB
    assert result["rank_direct"].shape == (1, 2, 40)

    # Head 63 reads value head 7; three pairs against the whole projection, in float64.
    reader = WeightReader(folder)
    chosen = [0, 17, 39]
    w_vo = reader.value_weights(5)[7].double() @ reader.output_weights(5)[63].double()
    mapped = reader.embedding_rows(torch.tensor(pairs["source_id"].tolist())[chosen]).double() @ w_vo
    unembedding = reader.unembedding()
    logits = torch.cat([mapped @ rows.double().T for rows in unembedding.split(8192)], 1)
    for i, row in zip(chosen, logits, strict=True):
        own = row[pairs["target_id"][i]]
        expected = int((row > own).sum()), int((row < own).sum())
        got = result["rank_direct"][0, 1, i], result["rank_suppression"][0, 1, i]
        # float32 against float64: a handful of 128,256 logits may lie within rounding of the target's.
        np.testing.assert_allclose(got, expected, atol=5)
        assert sum(expected) in (VOCABULARY - 1, VOCABULARY - 2)
