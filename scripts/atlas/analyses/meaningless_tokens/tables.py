"""Columns and types of the tables of meaningless tokens; docs/tables.md explains each (a test keeps the two equal)."""

_HEAD = {"model": "str", "dataset": "str", "layer": "int32", "head": "int32"}

TABLES = {
    "attention_weights": {
        "model": "str",
        "dataset": "str",
        "condition": "str",
        "layer": "int32",
        "head": "int32",
        "position": "int32",
        "aligned_position": "Int32",
        "token": "str",
        "in_span": "bool",
        "weight": "float64",
        "weight_low": "float64",
        "weight_high": "float64",
        "prompts": "int32",
        "reading": "str",
    },
    "meaningless_effect": {
        **_HEAD,
        "effect": "float64",
        "effect_low": "float64",
        "effect_high": "float64",
        "weight_without": "float64",
        "weight_with": "float64",
        "span_mass": "float64",
        "lambda": "float64",
        "reading": "str",
        "prompts": "int32",
        "prompts_dropped": "int32",
        "merged_tokens": "int32",
    },
}
