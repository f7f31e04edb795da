"""Heads ablated in the weights: the stock model of the new folder is the old one with the engine's ablation."""

import json
import shutil

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import any_family
from atlas.attention import Plan, attend
from atlas.errors import AtlasError
from atlas.models.architectures import read_shape
from atlas.models.folder import check_model_folder
from atlas.models.sources import materialise_model
from atlas.models.surgery import ablate
from atlas.results.files import write_frame
from families import ATTENTION_ONLY, FAMILIES
from tiny_models import save_folder

IDS = torch.randint(3, 150, (2, 17), generator=torch.Generator().manual_seed(0))
# Families that store queries and outputs each in another way: GQA, Conv1D, fused, per-head norms, biases, latents.
ACROSS_HEADS = {"olmo2", "olmo3"}
OUTPUTS = ("out_proj", "dense", "c_proj")
HEADS = [(0, 1), (0, 5), (3, 0)]


def ablated(base, folder, heads, ablation, epsilon=0.0):
    folder.mkdir()
    ablate(base, folder, heads, ablation, epsilon)
    return folder


def stock(folder, auto=AutoModelForCausalLM):
    return auto.from_pretrained(folder, attn_implementation="eager", dtype=torch.float32).eval().requires_grad_(False)


def logits(model):
    with torch.no_grad():
        return model(input_ids=IDS, use_cache=False).logits


def engine(model, heads, ablation, epsilon):
    """Logits of `model` while the attention engine ablates the heads."""
    count = model.config.get_text_config().num_attention_heads
    chosen = {}
    for layer, head in heads:
        chosen.setdefault(layer, torch.zeros(1, count, dtype=torch.bool))[0, head] = True
    if ablation == "undifferentiated":
        plan = Plan(uniform=chosen)
    else:
        plan = Plan(scale={layer: torch.where(where, epsilon, 1.0) for layer, where in chosen.items()})
    with attend(model, plan):
        return logits(model)


def same(found, expected, clean):
    """Equal but for rounding, measured by what the ablation does."""
    moved = (expected - clean).abs().max()
    assert moved > 1e-3
    assert (found - expected).abs().max() < 2e-5 * moved


@pytest.mark.parametrize("family", [*FAMILIES, *ATTENTION_ONLY])
def test_scaling_is_the_engines(tmp_path, family):
    base = save_folder(tmp_path / "base", family)
    model = stock(base)
    for epsilon in (0.0, 0.3):
        new = stock(ablated(base, tmp_path / f"new{epsilon}", HEADS, "scaling", epsilon))
        same(logits(new), engine(model, HEADS, "scaling", epsilon), logits(model))


@pytest.mark.parametrize("family", [name for name in (*FAMILIES, *ATTENTION_ONLY) if name not in ACROSS_HEADS])
def test_queries_of_zero_are_the_engines_undifferentiated_attention(tmp_path, family):
    base = save_folder(tmp_path / "base", family)
    model = stock(base)
    new = stock(ablated(base, tmp_path / "new", HEADS, "undifferentiated"))
    same(logits(new), engine(model, HEADS, "undifferentiated", 0), logits(model))


@pytest.mark.parametrize("kind", ["bloom", "codegen", "falcon", "gpt_neo", "gptj", "mpt"])
def test_families_that_the_engine_cannot_edit(tmp_path, kind):
    """In the first layer the head's pattern is that of no query, and all other heads have theirs."""
    model = any_family.build(kind)
    model.save_pretrained(tmp_path / "base")
    model, head = stock(tmp_path / "base"), 2
    new = stock(ablated(tmp_path / "base", tmp_path / "unread", [(0, head)], "undifferentiated"))
    with torch.no_grad():
        old, found = (m(input_ids=IDS, use_cache=False, output_attentions=True).attentions[0] for m in (model, new))
    # With queries of zero a pattern is the same for every text, whatever biases a family adds.
    assert torch.allclose(found[0, head], found[1, head], atol=1e-6)
    assert not torch.allclose(old[0, head], old[1, head], atol=1e-3)
    others = [h for h in range(old.shape[1]) if h != head]
    assert torch.equal(found[:, others], old[:, others])

    scaled = stock(ablated(tmp_path / "base", tmp_path / "scaled", [(0, head)], "scaling", 0.3))
    ends = tuple(f".0.{module}.{name}" for module in ("attn", "self_attention", "attn.attention") for name in OUTPUTS)
    output = next(module for name, module in model.named_modules() if name.endswith(ends))
    width = read_shape(tmp_path / "base").value_width

    def hook(_, args):
        z = args[0].clone()
        z[..., head * width : (head + 1) * width] *= 0.3
        return (z, *args[1:])

    clean = logits(model)
    with output.register_forward_pre_hook(hook):
        same(logits(scaled), logits(model), clean)


@pytest.mark.parametrize("kind", ["qwen3_next", "mamba", "bert"])
def test_families_without_a_record_are_refused_by_name(tmp_path, kind):
    any_family.build(kind).save_pretrained(tmp_path / "base")
    with pytest.raises(AtlasError, match=f"Family '{kind}' is not supported by surgery"):
        ablated(tmp_path / "base", tmp_path / "new", [(0, 0)], "scaling")


@pytest.mark.parametrize("kind", ["mistral3", "qwen2_5_vl"])
def test_decoders_inside_wrappers(tmp_path, kind):
    model = any_family.build(kind)
    model.save_pretrained(tmp_path / "base")
    model, heads = stock(tmp_path / "base", type(model)), [(1, 0), (2, 5)]
    new = stock(ablated(tmp_path / "base", tmp_path / "new", heads, "undifferentiated"), type(model))
    same(logits(new), engine(model, heads, "undifferentiated", 0), logits(model))


def test_layers_without_attention_have_no_heads(tmp_path):
    any_family.build("bamba").save_pretrained(tmp_path / "base")
    types = AutoConfig.from_pretrained(tmp_path / "base").layers_block_type
    assert set(types) == {"full_attention", "linear_attention"}
    for layer, kind in enumerate(types):
        if kind == "full_attention":
            ablated(tmp_path / "base", tmp_path / f"new{layer}", [(layer, 0)], "scaling")
        else:
            with pytest.raises(AtlasError, match=f"layer {layer} has no attention"):
                ablated(tmp_path / "base", tmp_path / f"new{layer}", [(layer, 0)], "scaling")


@pytest.mark.parametrize(
    ("family", "said"),
    [("olmo2", r"one norm over all heads \(self_attn\.q_norm\.weight\)"), ("persimmon", r"a norm with a bias")],
)
def test_queries_that_cannot_be_zero_are_refused(tmp_path, family, said):
    any_family.build(family).save_pretrained(tmp_path / "base")
    with pytest.raises(AtlasError, match=said):
        ablated(tmp_path / "base", tmp_path / "new", [(0, 0)], "undifferentiated")


def test_a_norm_between_heads_and_output_forbids_scaling(tmp_path):
    any_family.build("bitnet").save_pretrained(tmp_path / "base")
    with pytest.raises(AtlasError, match="no weights scale a single head"):
        ablated(tmp_path / "base", tmp_path / "new", [(0, 0)], "scaling")


@pytest.mark.parametrize(
    ("heads", "ablation", "epsilon", "said"),
    [
        ([(4, 0)], "scaling", 0, r"no head \[4, 0\]: its layers are 0 to 3, its heads 0 to 5"),
        ([(0, 6)], "scaling", 0, r"no head \[0, 6\]"),
        ([(0, 0)], "mean", 0, "'mean' cannot be written into weights"),
        ([], "scaling", 0, "one head or more"),
        ([(0, 0)], "scaling", float("nan"), "finite epsilon"),
    ],
)
def test_what_cannot_be_ablated_is_refused(tmp_path, heads, ablation, epsilon, said):
    base = save_folder(tmp_path / "base")
    with pytest.raises(AtlasError, match=said):
        ablated(base, tmp_path / "new", heads, ablation, epsilon)


def test_fused_rows_that_hold_something_else_are_refused(tmp_path):
    """Gated attention stores a gate among the queries: rows that are counted wrongly would be another head's."""
    base = save_folder(tmp_path / "base")
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "head_dim": 16}))
    for ablation in ("scaling", "undifferentiated"):
        with pytest.raises(AtlasError, match="where all heads together are 96"):
            ablated(base, tmp_path / ablation, [(0, 0)], ablation)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_rounded_once(tmp_path, dtype):
    base = save_folder(tmp_path / "base", "qwen2", dtype)
    name = "model.layers.0.self_attn.o_proj.weight"
    old = load_file(base / "model.safetensors")
    new = load_file(ablated(base, tmp_path / "new", [(0, 1)], "scaling", 0.3) / "model.safetensors")
    expected = old[name].clone()
    expected[:, 8:16] = (old[name][:, 8:16].float() * 0.3).to(dtype)
    assert torch.equal(new.pop(name), expected)
    assert all(torch.equal(new[other], old[other]) for other in new)


def test_shards_without_an_ablated_head_are_those_of_the_base(tmp_path):
    base = save_folder(tmp_path / "base")
    model = AutoModelForCausalLM.from_pretrained(base)
    whole = logits(stock(ablated(base, tmp_path / "whole", HEADS, "scaling")))
    (base / "model.safetensors").unlink()
    model.save_pretrained(base, max_shard_size="60KB")
    before = {path.name: path.read_bytes() for path in base.iterdir()}
    new = ablated(base, tmp_path / "new", HEADS, "scaling")
    assert torch.equal(logits(stock(new)), whole)
    changed = [name for name in before if (new / name).read_bytes() != before[name]]
    assert 0 < len(changed) <= 2
    assert {path.name: path.read_bytes() for path in base.iterdir()} == before


SOURCE = {"of": "base", "heads": [[0, 1], [3, 0]], "ablation": "scaling", "epsilon": 0.5}


def test_from_source_to_sealed_folder(tmp_path):
    base = materialise_model({"path": str(save_folder(tmp_path / "raw"))}, tmp_path / "base", staging=tmp_path / "s")
    folder = materialise_model({"ablated": SOURCE}, tmp_path / "new", staging=tmp_path / "s", base=base)
    record = check_model_folder(folder, full=True)
    assert record["source"] == {"ablated": SOURCE}
    assert record["base"]["source"] == {"path": str(tmp_path / "raw")}
    assert record["base"]["weights_sha256"] != record["weights_sha256"]
    assert record["ablated_heads"] == [[0, 1], [3, 0]]
    assert record["notes"][-1] == "ablated (scaling, output times 0.5): heads (layer, head) (0, 1), (3, 0)"
    old, new = (AutoTokenizer.from_pretrained(path)("w1 w2").input_ids for path in (base, folder))
    assert old == new
    same(logits(stock(folder)), engine(stock(base), [(0, 1), (3, 0)], "scaling", 0.5), logits(stock(base)))
    shutil.rmtree(folder)
    assert check_model_folder(base, full=True)


def test_the_strongest_heads_of_a_ranking(tmp_path):
    base = materialise_model({"path": str(save_folder(tmp_path / "raw"))}, tmp_path / "base", staging=tmp_path / "s")
    rows = [
        (ablation, rank, layer, head, 1 + ((layer * 6 + head) * 5 + rank + (ablation == "scaling")) % 24)
        for ablation in ("undifferentiated", "scaling")
        for rank in (1, 3)
        for layer in range(4)
        for head in range(6)
    ]
    ranks = pd.DataFrame(rows, columns=["ablation", "rank", "layer", "head", "position"])
    write_frame(tmp_path / "ranks.parquet", ranks, {})
    options = {**SOURCE, "heads": {"top": 3, "dataset": "d", "rank": 3}}
    making = {"staging": tmp_path / "s", "base": base, "ranks": tmp_path / "ranks.parquet"}
    record = check_model_folder(materialise_model({"ablated": options}, tmp_path / "new", **making))
    expected = sorted((p, [la, h]) for a, r, la, h, p in rows if (a, r) == ("scaling", 3))[:3]
    assert record["ablated_heads"] == [head for _, head in expected]
    with pytest.raises(AtlasError, match="asks for 99 heads"):
        many = {**options, "heads": {**options["heads"], "top": 99}}
        materialise_model({"ablated": many}, tmp_path / "many", **making)
