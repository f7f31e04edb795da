"""One reading of a folder's weights for both readers: what the loaded model holds, or a refusal by both."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import families
from atlas.errors import AtlasError
from atlas.models.architectures import FAMILIES, output_projection
from atlas.models.controls import make_control
from atlas.models.loading import load_model
from atlas.models.structure import check_structure
from atlas.models.weights import WeightReader

NAMES = sorted(families.FAMILIES)
HEADS = ("absent", "equal", "different", "alone")


def stored(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    tensors = change(tensors) or tensors
    save_file({name: value.contiguous() for name, value in tensors.items()}, path, metadata={"format": "pt"})
    return folder


def set_config(folder, **values):
    path = folder / "config.json"
    content = json.loads(path.read_text()) | values
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not ...}))
    return folder


def vocabulary(tensors, family):
    """Stored names of (embedding, unembedding); the latter may be absent."""
    embedding = next((name for name in tensors if name.endswith(family.embedding)), family.embedding)
    return embedding, next((name for name in tensors if name in family.unembedding), family.unembedding[0])


def with_head(folder, family, kind):
    def change(tensors):
        embedding, head = vocabulary(tensors, family)
        tensors.pop(head, None)
        if kind == "equal":
            tensors[head] = tensors[embedding].clone()
        elif kind == "different":
            tensors[head] = torch.randn(tensors[embedding].shape)
        elif kind == "alone":
            tensors[head] = tensors.pop(embedding)

    return stored(folder, change)


def both(folder):
    """(what the loaded model holds, what the reader gives) of embedding and unembedding, or the two refusals."""

    def live():
        model = load_model(folder, device="cpu")
        return model.get_input_embeddings().weight, model.get_output_embeddings().weight

    def read():
        reader = WeightReader(folder)
        return reader.embedding_rows(torch.arange(reader.shape.vocabulary)), reader.unembedding()

    found = []
    for ask in (live, read):
        try:
            found.append(ask())
        except AtlasError:
            found.append(None)
    return found


def assert_same(folder):
    live, read = both(folder)
    assert (live is None) == (read is None)
    if live is not None and read is not None:
        for one, other in zip(live, read, strict=True):
            assert torch.equal(one, other)
    return live


@pytest.mark.parametrize("head", HEADS)
@pytest.mark.parametrize("tied", [True, False, None])
@pytest.mark.parametrize("name", NAMES)
def test_both_readers_have_the_same_embeddings(name, tied, head, tmp_path):
    """tied None: config.json says nothing, so that the default of the family's class counts."""
    families.build(name).save_pretrained(tmp_path)
    set_config(tmp_path, tie_word_embeddings=... if tied is None else tied)
    family = FAMILIES[families.FAMILIES[name][0]]
    with_head(tmp_path, family, head)
    live = assert_same(tmp_path)
    if tied is not None:
        assert (live is None) == (not tied and head in ("absent", "alone"))
    if live is not None and head == "different":
        assert not torch.equal(*live)


@pytest.mark.parametrize("seed", range(40))
def test_both_readers_agree_on_any_naming(seed, tmp_path):
    """Prefixes on all, none or some tensors, tied or not, an unembedding or none: the same numbers, or two refusals."""
    rng = np.random.default_rng(seed)
    name = str(rng.choice(["llama", "gpt2", "gpt_neox", "opt", "gemma2", "phi3"]))
    family = FAMILIES[families.FAMILIES[name][0]]
    families.build(name).save_pretrained(tmp_path)
    set_config(tmp_path, tie_word_embeddings=bool(rng.integers(2)))
    with_head(tmp_path, family, str(rng.choice(HEADS)))
    prefixes = [p for p in family.prefixes if p] + ["", "model.", "other."]
    style = rng.integers(4)

    def rename(tensors):
        whole = str(rng.choice(prefixes))
        renamed = {}
        for old, value in tensors.items():
            bare = old
            for prefix in sorted(family.prefixes, key=len, reverse=True):
                bare = bare.removeprefix(prefix)
            own = vocabulary(tensors, family)
            if style == 0:
                new = old
            elif style == 1:
                new = bare if bare in family.unembedding else whole + bare
            elif style == 2:
                new = str(rng.choice(prefixes)) + bare if old in own else old
            else:
                new = str(rng.choice(family.unembedding)) if bare in family.unembedding else old
            renamed[new] = value
        return renamed

    stored(tmp_path, rename)
    live, read = both(tmp_path)
    if live is not None and read is not None:
        for one, other in zip(live, read, strict=True):
            assert torch.equal(one, other)
    assert live is None or read is not None  # what can be loaded can be read


@pytest.mark.parametrize("name", ["llama", "gpt_neox", "gpt2"])
def test_two_names_of_one_tensor_are_refused_by_all(name, tmp_path):
    families.build(name).save_pretrained(tmp_path)
    family = FAMILIES[families.FAMILIES[name][0]]

    def twice(tensors):
        embedding, _ = vocabulary(tensors, family)
        tensors[embedding.rpartition(family.embedding)[0] and family.embedding] = torch.randn(tensors[embedding].shape)

    stored(tmp_path, twice)
    for read in (load_model, WeightReader, check_structure):
        with pytest.raises(AtlasError, match="two names of one tensor"):
            read(tmp_path)


def test_two_names_are_noticed_in_a_family_outside_the_table(tmp_path):
    families.build("smollm3").save_pretrained(tmp_path)
    set_config(tmp_path, model_type="olmo3")
    stored(tmp_path, lambda t: t.update({"embed_tokens.weight": t["model.embed_tokens.weight"].clone()}))
    with pytest.raises(AtlasError, match=r"holds both '.*embed_tokens\.weight'.* two names of one tensor"):
        check_structure(tmp_path)


@pytest.mark.parametrize("kind", ["reinitialised", "shuffled"])
@pytest.mark.parametrize("head", ["equal", "different", "alone", "absent"])
def test_a_control_ties_what_its_base_ties(head, kind, tmp_path):
    base, control = tmp_path / "base", tmp_path / "control"
    families.build("llama", tie_word_embeddings=True).save_pretrained(base)
    with_head(base, FAMILIES["llama"], head)
    control.mkdir()
    make_control(base, control, kind, 0)
    embedding, unembedding = assert_same(control)
    assert torch.equal(embedding, unembedding) == (head != "different")


SPARE = {
    "a scale": {"model.layers.1.self_attn.v_proj.weight_scale": torch.ones(1)},
    "a bias": {"model.layers.1.self_attn.v_proj.bias": torch.ones(16)},
    "a layer more": {"model.layers.4.self_attn.v_proj.weight": torch.ones(16, 48)},
    "another model's": {"visual.patch.weight": torch.ones(3, 3)},
}


@pytest.mark.parametrize("tensors", SPARE.values(), ids=SPARE)
def test_unexpected_tensors_are_refused(tensors, tmp_path):
    families.build("llama").save_pretrained(tmp_path)
    stored(tmp_path, lambda have: have.update(tensors))
    name = next(iter(tensors)).replace(".", r"\.")
    for read in (load_model, check_structure):
        with pytest.raises(AtlasError, match=rf"holds the tensor '{name}', which a model of its config\.json does not"):
            read(tmp_path)


def test_constants_of_old_checkpoints_are_no_weights(tmp_path):
    live = families.build("gpt2")
    live.save_pretrained(tmp_path)
    stored(
        tmp_path,
        lambda have: have.update(
            {
                "transformer.h.0.attn.bias": torch.ones(1, 1, 128, 128).bool(),
                "transformer.h.0.attn.masked_bias": torch.tensor(-1e4),
            }
        ),
    )
    assert torch.equal(load_model(tmp_path, device="cpu").lm_head.weight, live.lm_head.weight)
    check_structure(tmp_path)


@pytest.mark.parametrize("kind", [torch.float8_e4m3fn, torch.float8_e5m2, torch.int8, torch.uint8])
def test_numbers_without_a_quantiser_are_refused_by_all(kind, tmp_path):
    """transformers would cast them to float32 without their scales."""
    families.build("llama").save_pretrained(tmp_path)
    name = "model.layers.1.self_attn.v_proj.weight"
    stored(tmp_path, lambda have: have.update({name: have[name].to(kind)}))
    for read in (load_model, WeightReader, check_structure):
        with pytest.raises(
            AtlasError, match=r"v_proj\.weight' is quantised \(\w+\), but .*config\.json names no quant"
        ):
            read(tmp_path)


def shards(folder):
    families.build("llama").save_pretrained(folder, max_shard_size="40KB")
    return folder, json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]


def write_index(folder, names):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": names}))


def no_index(folder, names):
    (folder / "model.safetensors.index.json").unlink()


def one_of_two(folder, names):
    no_index(folder, names)
    for path in sorted(folder.glob("*.safetensors"))[1:]:
        path.unlink()


def shard_gone(folder, names):
    sorted(folder.glob("*.safetensors"))[1].unlink()


def shard_more(folder, names):
    save_file({"more.weight": torch.ones(2)}, folder / "model-00099-of-00099.safetensors")


def name_more(folder, names):
    write_index(folder, names | {"model.more.weight": sorted(names.values())[0]})


def name_less(folder, names):
    write_index(folder, {key: value for key, value in names.items() if key != "model.norm.weight"})


def name_elsewhere(folder, names):
    first, last = min(names.values()), max(names.values())
    write_index(folder, {key: last if value == first else value for key, value in names.items()} | {"x": first})


def two_sets(folder, names):
    families.build("llama", seed=1).save_pretrained(folder / "other")
    (folder / "other" / "model.safetensors").rename(folder / "model.safetensors")


def one_file_more(folder, names):
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    families.build("llama").save_pretrained(folder)
    save_file({"x": torch.ones(1)}, folder / "extra.safetensors")


def another_name(folder, names):
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    families.build("llama").save_pretrained(folder)
    (folder / "model.safetensors").rename(folder / "weights.safetensors")


def empty_index(folder, names):
    write_index(folder, {})


FILES = {
    "no index": (no_index, r"has \d+ of \d+ shards .* and no model\.safetensors\.index\.json"),
    "one of two, no index": (one_of_two, r"has 1 of \d+ shards .* and no model\.safetensors\.index\.json"),
    "a shard gone": (shard_gone, r"index\.json names model-00002-.*, which is missing"),
    "a shard more": (shard_more, r"has model-00099-of-00099\.safetensors, which model\.safetensors\.index\.json"),
    "a name that no shard holds": (name_more, r"holds the tensor 'model\.more\.weight', which it does not \(1 such\)"),
    "a tensor without a name": (name_less, r"holds the tensor 'model\.norm\.weight', but .*does not name it"),
    "a tensor in another shard": (name_elsewhere, r"holds the tensor '.*', but .*index\.json says that it is in"),
    "two sets of weights": (two_sets, r"has model\.safetensors, which model\.safetensors\.index\.json does not name"),
    "a file more": (one_file_more, r"has extra\.safetensors beside model\.safetensors"),
    "another name": (another_name, r"has its weights as weights\.safetensors"),
    "an empty index": (empty_index, r"is no index of a sharded checkpoint"),
}  # fmt: skip


@pytest.mark.parametrize(("change", "message"), FILES.values(), ids=FILES)
def test_files_that_do_not_belong_together_are_refused_by_all(change, message, tmp_path):
    change(*shards(tmp_path))
    for read in (load_model, WeightReader, check_structure):
        with pytest.raises(AtlasError, match=message) as caught:
            read(tmp_path)
        assert "\n" not in str(caught.value)


def test_weights_named_in_the_configuration_are_refused(tmp_path):
    families.build("llama").save_pretrained(tmp_path)
    set_config(tmp_path, transformers_weights="other.safetensors")
    for read in (load_model, WeightReader, check_structure):
        with pytest.raises(AtlasError, match=r"names other\.safetensors as the weights"):
            read(tmp_path)


def test_shards_are_read_like_one_file(tmp_path):
    folder, _ = shards(tmp_path)
    live = load_model(folder, device="cpu")
    reader = WeightReader(folder)
    assert torch.equal(reader.unembedding(), live.lm_head.weight)
    weight = output_projection(live.model.layers[2].self_attn).weight
    assert torch.equal(reader.output_weights(2)[1], weight[:, 8:16].T)
