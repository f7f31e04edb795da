"""Columns and types of the tables of head categories; docs/tables.md explains each (a test keeps the two equal)."""

_HEAD = {"model": "str", "dataset": "str", "layer": "int32", "head": "int32"}

TABLES = {
    "head_relations": {
        **_HEAD,
        "relation": "str",
        "category": "str",
        "sign": "str",
        "k": "int32",
        "score": "float64",
        "null_mean": "float64",
        "null_sd": "float64",
        "p": "float64",
        "q": "float64",
        "pairs": "int32",
    },
    "head_categories": {
        **_HEAD,
        "significance": "str",
        "label": "str",
        "categories": "str",
        "tau": "float64",
        "alpha": "float64",
        "first_state": "str",
        "warning": "str",
    },
    "relation_pairs": {
        "model": "str",
        "dataset": "str",
        "relation": "str",
        "category": "str",
        "given": "int32",
        "kept": "int32",
        "unknown_token": "int32",
        "source_split": "int32",
        "target_split": "int32",
        "duplicate": "int32",
        "scored": "int32",
        "used": "bool",
        "dropped": "str",
    },
}
