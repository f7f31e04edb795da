"""A tiny model of any type that transformers lists, under whose weights attention is peaky (tiny_families.yaml)."""

import functools
import inspect
from pathlib import Path

import yaml
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

from families import randomised

DATA = Path(__file__).with_name("tiny_families.yaml")
MOST = 3_000_000  # parameters of a model that still counts as tiny


class NotTiny(Exception):
    """A type whose configuration cannot be made small with what tiny_families.yaml says."""


@functools.cache
def data():
    return yaml.safe_load(DATA.read_text())


def listed():
    """{model type: kind} of what transformers can load as a causal model, and of wrappers whose text part decodes.

    decoder: a language model of text; encoder: reads text both ways; part: the decoder of an encoder-decoder model;
    wrapper: a text decoder with encoders of images or sound around it.
    """
    known = data()
    kinds = {}
    for kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES:
        if kind in known["encoders"]:
            kinds[kind] = "encoder"
        elif kind in known["parts"]:
            kinds[kind] = "part"
        elif kind in known["wrappers"] or getattr(CONFIG_MAPPING[kind], "sub_configs", {}).get("text_config"):
            kinds[kind] = "wrapper"
        else:
            kinds[kind] = "decoder"
    kinds |= {
        kind: "wrapper"
        for kind in modeling_auto.MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        if kind not in kinds and kind in known["wrappers"]
    }
    return kinds


def _fields(cls):
    names = set(inspect.signature(cls.__init__).parameters) | set(getattr(cls, "__annotations__", {}))
    return names | set(getattr(cls, "__dataclass_fields__", {}))


def _tiny(cls):
    """The small values of the fields that a configuration class has, and those of the configurations inside it."""
    fields = _fields(cls)
    values = {name: value for name, value in data()["common"].items() if name in fields}
    for name, sub in (getattr(cls, "sub_configs", None) or {}).items():
        if sub.__name__ != "AutoConfig":
            values[name] = _tiny(sub)
    return values


def _over(base, more):
    """`more` on top of `base`, mappings inside merged; None leaves a field out."""
    found = dict(base)
    for name, value in more.items():
        inner = isinstance(value, dict) and isinstance(found.get(name), dict) and name.endswith("_config")
        found[name] = _over(found[name], value) if inner else value
    return {name: value for name, value in found.items() if value is not None}


def configuration(kind, **overrides):
    """The tiny configuration of a model type."""
    cls = CONFIG_MAPPING[kind]
    own = data()["types"].get(kind) or data()["wrappers"].get(kind) or {}
    for part in ("text_config", "vision_config"):
        if "model_type" in own.get(part, {}):
            named = configuration(own[part]["model_type"]).to_dict()
            own = {**own, part: {**named, **own[part]}}
    return cls(**_over(_over(_tiny(cls), own), overrides))


def auto_class(config):
    causal = modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
    return AutoModelForCausalLM if config.model_type in causal else AutoModelForImageTextToText


def build(kind, *, attn_implementation="eager", seed=0, **overrides):
    """A tiny model in evaluation mode, float32, on the CPU. Raises NotTiny."""
    import torch

    config = configuration(kind, **overrides)
    with torch.device("meta"):
        size = sum(weight.numel() for weight in auto_class(config).from_config(config).parameters())
    if size > MOST:
        raise NotTiny(f"{size} parameters")
    return randomised(
        config, seed=seed, attn_implementation=attn_implementation, auto=auto_class(config)
    ).requires_grad_(False)
