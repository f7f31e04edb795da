"""Loading: what comes back, and one clear sentence for each way it can fail."""

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig

import families
from atlas.errors import AtlasError
from atlas.models import loading
from atlas.models.rates import bfloat16_is_faster
from configurations import overlaid


@pytest.fixture
def folder(tmp_path):
    families.build("llama").save_pretrained(tmp_path)
    return tmp_path


def edit(folder, change):
    path = folder / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, metadata={"format": "pt"})


def test_model_is_frozen_in_evaluation_mode_and_equal(folder):
    model = loading.load_model(folder, device="cpu")
    assert not model.training
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert model.config._attn_implementation == "sdpa"
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        torch.testing.assert_close(model(ids).logits, families.build("llama")(ids).logits, atol=2e-5, rtol=0)


@pytest.mark.parametrize("name", families.FAMILIES)
def test_every_family_loads(name, tmp_path):
    families.build(name).save_pretrained(tmp_path)
    model = loading.load_model(tmp_path, device="cpu")
    fused = name not in ("gemma2", "gpt_oss")  # soft-capped scores and learned sinks are not in PyTorch's operator
    assert loading.describe_runtime(model)["attention"] == ("sdpa" if fused else "eager")
    for key, value in families.build(name).state_dict().items():
        assert torch.equal(model.state_dict()[key], value), key


@pytest.mark.parametrize(("dtype", "expected"), [("auto", torch.float32), ("bfloat16", torch.bfloat16)])
def test_dtype_on_the_cpu(folder, dtype, expected):
    model = loading.load_model(folder, dtype=dtype, device="cpu", attn_implementation="eager")
    assert {parameter.dtype for parameter in model.parameters()} == {expected}
    assert model.config._attn_implementation == "eager"
    runtime = loading.describe_runtime(model)
    assert runtime["device"] == "cpu"
    assert runtime["dtype"] == str(expected).removeprefix("torch.")
    assert runtime["torch"] == torch.__version__


def test_auto_dtype_is_full_precision_for_a_half_checkpoint(tmp_path):
    families.build("llama", dtype=torch.float16).save_pretrained(tmp_path)
    model = loading.load_model(tmp_path, device="cpu")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize(("times", "faster"), [(0.5, False), (1.1, False), (1.5, True), (2.0, True)])
def test_bfloat16_is_chosen_by_what_products_take_not_by_a_flag(monkeypatch, times, faster):
    linear, passed = torch.nn.functional.linear, [0.0]

    def slow(left, right):
        passed[0] += 1.0 / times if left.dtype == torch.bfloat16 else 1.0
        return linear(left, right)

    monkeypatch.setattr(torch.nn.functional, "linear", slow)
    assert bfloat16_is_faster("cpu", clock=lambda: passed[0]) is faster


def test_bfloat16_if_faster_loads_what_was_measured(folder):
    model = loading.load_model(folder, dtype="bfloat16_if_faster", device="cpu")
    dtype = next(model.parameters()).dtype
    assert dtype in (torch.float32, torch.bfloat16)
    assert loading.describe_runtime(model)["dtype"] == str(dtype).removeprefix("torch.")


def test_no_default_goes_by_the_machine():
    """On a CPU every default is float32; a format that is faster somewhere has to be asked for."""
    config = overlaid()
    assert config["analyses"]["mink"]["dtype"] == "model"
    assert {model.get("dtype", "auto") for model in config["models"].values()} == {"auto"}


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dtype": "float16", "device": "cpu"}, "0.3 GFLOP/s"),
        ({"dtype": "int8"}, "int8"),
        ({"device": "tpu"}, "tpu"),
        pytest.param(
            {"device": "cuda"},
            "no CUDA device",
            marks=pytest.mark.skipif(torch.cuda.is_available(), reason="there is one"),
        ),
    ],
)
def test_bad_options(folder, options, words):
    with pytest.raises(AtlasError, match=words):
        loading.load_model(folder, **options)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_bad_weights_name_the_tensor_and_layer(folder, value):
    def poison(tensors):
        tensors["model.layers.2.mlp.up_proj.weight"][3, 4] = value

    edit(folder, poison)
    with pytest.raises(AtlasError, match=r"model\.layers\.2\.mlp\.up_proj\.weight holds 1 .*layer 2"):
        loading.load_model(folder, device="cpu")


def test_large_but_finite_weights_pass(folder):
    """The sum of finite weights may overflow; that alone is no fault."""
    edit(folder, lambda tensors: tensors["model.norm.weight"].fill_(3e38))
    assert loading.load_model(folder, device="cpu").model.norm.weight[0] == pytest.approx(3e38)


def test_missing_tensor_is_not_drawn_at_random(folder):
    edit(folder, lambda tensors: tensors.pop("model.layers.1.self_attn.o_proj.weight"))
    with pytest.raises(AtlasError, match=r"model\.layers\.1\.self_attn\.o_proj\.weight"):
        loading.load_model(folder, device="cpu")


def test_wrong_shape_is_an_error(folder):
    name = "model.layers.1.self_attn.o_proj.weight"
    edit(folder, lambda tensors: tensors.update({name: torch.zeros(3, 3)}))
    with pytest.raises(AtlasError, match=rf"{folder}: tensor '{name}' has the shape 3 x 3 where .* implies 48 x 48"):
        loading.load_model(folder, device="cpu")


def test_truncated_file_is_an_error(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(AtlasError) as caught:
        loading.load_model(folder, device="cpu")
    assert "\n" not in str(caught.value)


def test_folder_without_safetensors(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(AtlasError, match="safetensors"):
        loading.load_model(folder, device="cpu")


def test_absent_folder(tmp_path):
    for load in (loading.load_model, loading.load_tokenizer):
        with pytest.raises(AtlasError, match="nowhere"):
            load(tmp_path / "nowhere")


def test_refused_family_is_named_before_its_weights_are_read(tmp_path):
    AutoConfig.for_model("t5").save_pretrained(tmp_path)
    save_file({"unrelated": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(AtlasError, match=r"t5.*not a decoder language model"):
        loading.load_model(tmp_path, device="cpu")


def test_folder_without_tokenizer(folder):
    with pytest.raises(AtlasError, match="tokenizer"):
        loading.load_tokenizer(folder)


def test_tokenizer_comes_back(tmp_path):
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({"<u>": 0, "a": 1, "b": 2}, unk_token="<u>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=backend, unk_token="<u>").save_pretrained(tmp_path)
    assert loading.load_tokenizer(tmp_path)("b a z").input_ids == [2, 1, 0]


@pytest.mark.parametrize("n", [0, -1, 1.5, True, "2"])
def test_bad_thread_counts(n):
    with pytest.raises(AtlasError, match="threads"):
        loading.set_threads(n)


def test_threads():
    before = torch.get_num_threads()
    try:
        loading.set_threads(1)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)
