"""The models of configs/paper.yaml by their shapes: full size without weights, and random miniatures on disk."""

from pathlib import Path

import yaml
from transformers import AutoConfig

from tiny_models import WORDS, save_tokenizer

SHAPES = yaml.safe_load((Path(__file__).parent / "paper_shapes.yaml").read_text())
# What differs from the defaults of the families' configurations, in full and in small.
_FAMILY = {"phi": {"partial_rotary_factor": 0.4}, "gpt_neox": {"tie_word_embeddings": False}}
_SIZES = ("num_hidden_layers", "num_attention_heads", "hidden_size", "vocab_size")


def full_config(model):
    """The transformers configuration of a model in its published size."""
    shape = SHAPES[model]
    sizes = dict(zip(_SIZES, (shape["layers"], shape["heads"], shape["width"], shape["vocabulary"]), strict=True))
    return AutoConfig.for_model(shape["type"], **_named(shape, sizes), **shape["more"])


def save_miniature(folder, model, layers=3, head_width=10):
    """A random model of the same family and ratio of heads to value heads, few heads wide, that knows WORDS."""
    from families import randomised

    shape = SHAPES[model]
    group = shape["heads"] // shape["kv_heads"]
    heads = 2 * group if group > 1 else 4
    width = heads * head_width
    sizes = dict(zip(_SIZES, (layers, heads, width, len(WORDS)), strict=True))
    more = {"n_positions": 256} if shape["type"] == "gpt2" else {"intermediate_size": 2 * width}
    small = {"kv_heads": heads // group, "type": shape["type"]}
    ends = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    config = AutoConfig.for_model(shape["type"], **_named(small, sizes), **more, **ends)
    randomised(config).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


def _named(shape, sizes):
    """Sizes under the names of the family."""
    if shape["type"] == "gpt2":
        return dict(zip(("n_layer", "n_head", "n_embd", "vocab_size"), sizes.values(), strict=True))
    grouped = {} if shape["type"] == "gpt_neox" else {"num_key_value_heads": shape["kv_heads"]}
    return {**sizes, **grouped, **_FAMILY.get(shape["type"], {})}
