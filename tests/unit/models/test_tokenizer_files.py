"""A folder whose tokenizer.json and family's class make different tokens is refused until it says which is meant."""

import json

import pytest
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from atlas.errors import AtlasError
from atlas.models.loading import load_tokenizer
from atlas.models.sources import materialise_model
from atlas.models.tokenizer_files import choose
from configurations import check
from tiny_models import save_folder

TEXT = "w1 w2 w3"


@pytest.fixture
def other(tmp_path):
    """Layers of a family whose class builds a tokenizer of its own, with one that splits at white space."""
    return save_folder(tmp_path / "model", "qwen2")


def made(folder, tmp_path, **options):
    return materialise_model({"path": str(folder)}, tmp_path / "made", staging=tmp_path / "staging", **options)


def test_what_makes_other_tokens_is_refused_by_name_before_it_is_used(other, tmp_path):
    with pytest.raises(AtlasError, match=r"Qwen2Tokenizer .* of 'The quick .*tokenizer: file` or `tokenizer: class`"):
        made(other, tmp_path)
    assert not (tmp_path / "made").exists()
    with pytest.raises(AtlasError, match="say which is meant"):
        load_tokenizer(other)


@pytest.mark.parametrize("choice", ["file", "class"])
def test_the_choice_of_the_entry_is_kept_with_the_model(choice, other, tmp_path):
    folder = made(other, tmp_path, tokenizer=choice)
    assert json.loads((folder / "provenance.json").read_text())["tokenizer"] == choice
    ids = load_tokenizer(folder)(TEXT, add_special_tokens=False)["input_ids"]
    stated = Tokenizer.from_file(str(other / "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids
    assert (ids == stated) is (choice == "file")


@pytest.mark.parametrize("family", ["llama", "gpt2", "gemma2", "mistral_sliding", "phi3", "gpt_neox"])
def test_families_read_from_their_file_need_no_choice(family, tmp_path):
    folder = made(save_folder(tmp_path / "model", family), tmp_path)
    assert "tokenizer" not in json.loads((folder / "provenance.json").read_text())
    assert load_tokenizer(folder)(TEXT, add_special_tokens=False)["input_ids"] == [4, 5, 6]


def test_tokens_in_front_of_a_text_are_no_difference(tmp_path):
    folder = save_folder(tmp_path / "model")
    file = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.save(str(file))
    assert load_tokenizer(folder)(TEXT)["input_ids"] == [1, 4, 5, 6]


def test_padding_and_truncation_that_a_file_keeps_are_no_difference(tmp_path):
    folder = save_folder(tmp_path / "model")
    file = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.enable_padding(length=40)
    tokenizer.enable_truncation(2)
    tokenizer.save(str(file))
    assert choose(folder, None)(TEXT, add_special_tokens=False)["input_ids"] == [4, 5, 6]


def test_a_broken_tokenizer_is_named_while_the_model_comes_in(tmp_path):
    folder = save_folder(tmp_path / "model")
    (folder / "tokenizer.json").write_text('{"version": "1.0"')
    with pytest.raises(AtlasError, match=r"tokenizer of the model in .*model cannot be used"):
        made(folder, tmp_path)


def test_a_file_that_is_not_there_cannot_be_chosen(tmp_path):
    folder = save_folder(tmp_path / "model")
    (folder / "tokenizer.json").unlink()
    with pytest.raises(AtlasError, match=r"no tokenizer\.json, which the model's `tokenizer: file` asks for"):
        choose(folder, "file")


def test_a_control_has_the_choice_of_its_base():
    with pytest.raises(AtlasError, match=r"models\.tiny-shuffled\.tokenizer: a control has the tokenizer of its base"):
        check("models: {tiny-shuffled: {tokenizer: file}}")
    assert check("models: {tiny: {tokenizer: class}}")["models"]["tiny"]["tokenizer"] == "class"
