"""Head mappings against brute force: the full W_VO of stock tensors and the full projection onto the vocabulary."""

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

import families
from atlas.analyses.head_categories import extract as head_mappings
from atlas.analyses.head_categories import logit_ranks, plan, rank_pairs, storage
from atlas.analyses.head_categories.extract import map_heads
from atlas.errors import AtlasError
from head_maps import K_MAX, check, live_first_mlp, live_value_and_output, some_pairs

MIXTURES = ("mixtral", "gpt_oss")


@torch.no_grad()
def brute_force(model, pairs, layers, first_mlp):
    """(layers, heads, pairs, V) logits in float64, one d x d map after the other."""
    rows = model.get_input_embeddings().weight[pairs["source_id"].tolist()]
    unembedding = model.get_output_embeddings().weight.double()
    result = []
    for layer in layers:
        x = live_first_mlp(model, rows) if first_mlp and layer > 0 else rows
        value, output = live_value_and_output(model, layer)
        result.append(torch.stack([x.double() @ (v @ o) @ unembedding.T for v, o in zip(value, output, strict=True)]))
    return torch.stack(result)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("first_mlp", [True, False])
@pytest.mark.parametrize("name", sorted(families.FAMILIES))
def test_ranks_and_hits_equal_brute_force(name, first_mlp, dtype, tmp_path):
    if first_mlp and name in MIXTURES:
        pytest.skip("a mixture of experts has no dense first MLP")
    model = families.build(name)
    model.save_pretrained(tmp_path)
    pairs = some_pairs()
    result = map_heads(tmp_path, pairs, [0, 2], first_mlp=first_mlp, k_max=K_MAX, dtype=dtype, threads=1)
    check(result, brute_force(model, pairs, [0, 2], first_mlp), pairs, tolerance=1e-5)


def test_untied_and_tied_unembeddings_are_both_read(tmp_path):
    for tied in (True, False):
        model = families.build("llama", tie_word_embeddings=tied)
        model.save_pretrained(tmp_path / str(tied))
        result = map_heads(tmp_path / str(tied), some_pairs(), [1], k_max=K_MAX, threads=1)
        check(result, brute_force(model, some_pairs(), [1], True), some_pairs(), tolerance=1e-5)


# ------------------------------------------------------------------------------------------------ invariants
@pytest.fixture
def folder(tmp_path):
    families.build("llama").save_pretrained(tmp_path / "model")
    return tmp_path / "model"


def edited(folder, change):
    """A copy of the model with edited tensors."""
    new = folder.parent / f"edited{len(list(folder.parent.iterdir()))}"
    new.mkdir()
    tensors = {name: tensor.double() for name, tensor in load_file(folder / "model.safetensors").items()}
    change(tensors)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, new / "model.safetensors")
    (new / "config.json").write_text((folder / "config.json").read_text())
    return new


def run(folder, **options):
    return map_heads(folder, some_pairs(), [0, 2], **{"k_max": K_MAX, "dtype": "float64", "threads": 1, **options})


def same(one, other):
    return all(np.array_equal(one[key], other[key]) for key in one)


O2, V2 = "model.layers.2.self_attn.o_proj.weight", "model.layers.2.self_attn.v_proj.weight"


def test_k_equal_to_the_vocabulary_finds_everything(folder):
    result = run(folder, k_max=199)
    assert (result["rank_direct"] < 199).all()
    assert (result["rank_suppression"] < 199).all()
    pairs = some_pairs()
    per_head = sum(len(g) * g["target_id"].nunique() for _, g in pairs.groupby("relation"))
    assert len(result["hit_rank"]) == 2 * 2 * 6 * per_head


def test_the_sign_of_the_output_matrix_swaps_direct_and_suppression(folder):
    before = run(folder)
    after = run(edited(folder, lambda t: t.update({O2: -t[O2]})))
    assert np.array_equal(before["rank_direct"][1], after["rank_suppression"][1])
    assert np.array_equal(before["rank_suppression"][1], after["rank_direct"][1])
    assert np.array_equal(before["rank_direct"][0], after["rank_direct"][0])

    def rows(result, sign):
        keep = result["hit_layer"] == 2
        names = ("hit_head", "hit_sign", "hit_pair", "hit_target", "hit_rank")
        head, hit_sign, *rest = (result[name][keep].tolist() for name in names)
        return sorted(zip(head, [sign * s for s in hit_sign], *rest, strict=True))

    assert rows(before, 1) == rows(after, -1)


def test_a_change_of_basis_inside_the_head_changes_nothing(folder):
    a = torch.randn(8, 8, generator=torch.Generator().manual_seed(3), dtype=torch.float64) + 3 * torch.eye(8)

    def change(t):
        t[V2][8:] = a.T @ t[V2][8:]  # x W_V A, value head 1
        for head in (3, 4, 5):  # its readers: A^-1 W_O
            columns = slice(8 * head, 8 * head + 8)
            t[O2][:, columns] = t[O2][:, columns] @ torch.linalg.inv(a).T

    assert same(run(folder), run(edited(folder, change)))


def test_a_change_of_basis_of_one_side_only_does_matter(folder):
    def change(t):
        t[V2][8:] = torch.randn(8, 8, dtype=torch.float64) @ t[V2][8:]

    before, after = run(folder), run(edited(folder, change))
    assert np.array_equal(before["rank_direct"][1, :3], after["rank_direct"][1, :3])
    assert not np.array_equal(before["rank_direct"][1, 3:], after["rank_direct"][1, 3:])


def test_biases_queries_keys_and_other_norms_change_nothing(tmp_path):
    families.build("qwen2").save_pretrained(tmp_path / "qwen2")

    def change(t):
        for name in t:
            used = ("v_proj.weight", "o_proj.weight", "embed", "lm_head", "layers.0.mlp", "layers.0.post_attention")
            if not any(part in name for part in used):
                t[name] = torch.randn_like(t[name])

    assert same(run(tmp_path / "qwen2"), run(edited(tmp_path / "qwen2", change)))


@pytest.mark.parametrize("name", ["layers.0.mlp.down_proj", "layers.0.post_attention_layernorm", "lm_head", "embed"])
def test_what_the_formula_reads_does_matter(folder, name):
    def change(t):
        for key in t:
            if name in key:
                t[key] = torch.randn_like(t[key])

    assert not np.array_equal(run(folder)["rank_direct"][1], run(edited(folder, change))["rank_direct"][1])


def test_grouped_queries_equal_repeated_values(folder, tmp_path):
    result = run(folder)
    model = families.build("llama", num_key_value_heads=6)
    state = load_file(folder / "model.safetensors")
    for name, tensor in state.items():
        if "v_proj" in name or "k_proj" in name:
            state[name] = tensor.view(2, 8, 48).repeat_interleave(3, 0).reshape(48, 48)
    model.load_state_dict(state)
    model.save_pretrained(tmp_path / "mha")
    assert same(result, run(tmp_path / "mha"))


def planted(folder, pairs, head=4):
    """Layer 2, head `head` maps the one-hot code of source i to the unembedding row of target i; others write 0."""

    def change(t):
        embedding, unembedding = t["model.embed_tokens.weight"], t["lm_head.weight"]
        unembedding /= unembedding.norm(dim=1, keepdim=True)
        sources, targets = pairs["source_id"].tolist(), pairs["target_id"].tolist()
        t[V2].zero_()
        t[O2].zero_()
        t[V2][8:16] = torch.linalg.pinv(embedding[sources]).T  # x W_V^1 = the code of x
        t[O2][:, 8 * head : 8 * head + 8] = unembedding[targets].T

    return edited(folder, change)


def test_a_planted_head_is_found_and_nothing_else(folder):
    pairs = pd.DataFrame({"relation": "planted", "source_id": range(10, 18), "target_id": range(30, 38)})
    # Same sources with the targets of their neighbours: another relation, which the head does not implement.
    other = pairs.assign(relation="other", target_id=np.roll(pairs["target_id"], 1))
    both = pd.concat([pairs, other], ignore_index=True)
    model = planted(folder, pairs)
    result = map_heads(model, both, [2], first_mlp=False, k_max=1, dtype="float64", threads=1)
    score = (result["rank_direct"][0] < 1).reshape(6, 2, 8).mean(-1)
    assert score[4].tolist() == [1.0, 0.0]
    assert not score[[0, 1, 2, 3, 5]].any()
    assert not (result["rank_suppression"] < 1).any()
    # With targets only, the hit list of "other" holds the planted targets under their true sources.
    assert (result["hit_head"] == 4).all()
    assert (result["hit_rank"] == 0).all()
    assert len(result["hit_pair"]) == 16


# --------------------------------------------------------------------- independence of options and of the machine
def integer_model(folder):
    """Small integers everywhere: exact arithmetic in every order of summation, and many ties."""

    def change(t):
        generator = torch.Generator().manual_seed(5)
        for name in t:
            t[name] = torch.randint(-2, 3, t[name].shape, generator=generator).double()
        t["lm_head.weight"][50:100] = t["lm_head.weight"][100:150]  # equal rows: ties in every head

    return edited(folder, change)


def test_ties_follow_the_stated_rule_exactly(folder, monkeypatch):
    model, pairs = integer_model(folder), some_pairs()
    tensors = load_file(model / "model.safetensors")
    result = map_heads(model, pairs, [2], first_mlp=False, k_max=K_MAX, dtype="float32", threads=1)
    x = tensors["model.embed_tokens.weight"][pairs["source_id"].tolist()]
    ties = 0
    for head in range(6):
        value = tensors[V2].view(2, 8, 48)[head // 3].T
        logits = x @ value @ tensors[O2][:, 8 * head : 8 * head + 8].T @ tensors["lm_head.weight"].T
        own = logits[torch.arange(len(pairs)), pairs["target_id"].tolist()][:, None]
        equal = (logits == own).sum(1) - 1
        ties += int(equal.sum())
        half = torch.ceil(equal / 2)
        assert np.array_equal(result["rank_direct"][0, head], ((logits > own).sum(1) + half).int())
        assert np.array_equal(result["rank_suppression"][0, head], ((logits < own).sum(1) + half).int())
    assert ties > 200
    for tile, block, sources in (((8, 3), 4, 5), ((64, 64), 16, 100)):
        monkeypatch.setattr(logit_ranks, "CPU_TILE", tile)
        monkeypatch.setattr(logit_ranks, "BLOCK", block)
        monkeypatch.setattr(plan, "_SOURCES", sources)
        monkeypatch.setattr(head_mappings, "VOCABULARY_STEP", 31)
        for dtype in ("float32", "float64"):
            again = map_heads(model, pairs, [2], first_mlp=False, k_max=K_MAX, dtype=dtype, threads=1)
            assert same(result, again)


def test_both_ways_to_rank_candidates_agree(folder, monkeypatch):
    """Block by block (CPU) and whole rows (GPU), on floating-point and on integer weights."""
    for model, first_mlp in ((folder, True), (integer_model(folder), False)):
        blockwise = run(model, first_mlp=first_mlp)
        with monkeypatch.context() as patch:
            patch.setattr(rank_pairs, "_BLOCKWISE", ())
            assert same(blockwise, run(model, first_mlp=first_mlp))
        assert len(blockwise["hit_rank"]) > 100


def test_layers_threads_memory_and_order_change_no_byte(folder):
    pairs = some_pairs()
    whole = map_heads(folder, pairs, k_max=K_MAX, threads=1)
    parts = [map_heads(folder, pairs, [layer], k_max=K_MAX, threads=2, memory_mb=600) for layer in range(4)]
    assert same(whole, storage.merge(parts[::-1]))
    assert same(whole, map_heads(folder, pairs, k_max=K_MAX, threads=2, memory_mb=4000))
    turned = map_heads(folder, pairs.iloc[::-1].reset_index(drop=True), k_max=K_MAX, threads=1)
    assert np.array_equal(whole["rank_direct"], turned["rank_direct"][:, :, ::-1])
    some = map_heads(folder, pairs, [1, 3], heads=[5, 0], k_max=K_MAX, threads=1)
    assert np.array_equal(some["rank_direct"], whole["rank_direct"][np.ix_([1, 3], [5, 0])])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_checkpoints(dtype, tmp_path):
    model = families.build("llama", dtype=dtype)
    model.save_pretrained(tmp_path)
    result = map_heads(tmp_path, some_pairs(), [0, 2], k_max=K_MAX, threads=1)
    check(result, brute_force(model.float(), some_pairs(), [0, 2], True), some_pairs(), tolerance=1e-5)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", ["llama", "gpt2", "gemma2"])
def test_the_gpu_agrees(name, tmp_path):
    families.build(name).save_pretrained(tmp_path)
    on_cpu, on_gpu = (
        map_heads(tmp_path, some_pairs(), k_max=K_MAX, dtype="float64", device=device) for device in ("cpu", "cuda")
    )
    assert same(on_cpu, on_gpu)


def test_a_head_that_writes_nothing_has_no_hits(folder):
    model = edited(folder, lambda t: t[V2].zero_())
    result = map_heads(model, some_pairs(), [2], k_max=K_MAX, threads=1)
    assert (result["rank_direct"] == 99).all()
    assert (result["rank_suppression"] == 99).all()
    assert not len(result["hit_rank"])


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        ({"target_id": [199]}, {}, "token 199, outside the model's vocabulary of 199"),
        ({"source_id": [-1]}, {}, "token -1"),
        ({"relation": []}, {}, "No pair"),
        ({}, {"layers": [4]}, "Layer 4 does not exist"),
        ({}, {"heads": [6]}, "Head 6 does not exist"),
        ({}, {"k_max": 0}, "k_max"),
        ({}, {"k_max": 200}, "k_max"),
        ({}, {"memory_mb": 1}, r"memory_mb: 1 is too little .* at least \d+"),
        ({}, {"dtype": "bfloat16"}, "bfloat16"),
    ],
)
def test_bad_input(change, options, words, folder):
    pairs = pd.DataFrame({"relation": ["r"], "source_id": [1], "target_id": [2]})
    pairs = pairs.iloc[:0] if "relation" in change else pairs.assign(**change)
    with pytest.raises(AtlasError, match=words):
        map_heads(folder, pairs, **options)


def test_overflow_of_the_first_mlp_is_named(folder):
    model = edited(folder, lambda t: t["model.layers.0.mlp.down_proj.weight"].fill_(1e300))
    with pytest.raises(AtlasError, match="first MLP"):
        map_heads(model, some_pairs(), [1])


@pytest.mark.parametrize("matrix", ["o_proj", "v_proj"])
def test_overflow_of_a_layer_is_named(folder, matrix):
    model = edited(folder, lambda t: t[f"model.layers.1.self_attn.{matrix}.weight"][0].fill_(1e300))
    with pytest.raises(AtlasError, match="layer 1 overflow in float32"):
        map_heads(model, some_pairs(), [0, 1])
