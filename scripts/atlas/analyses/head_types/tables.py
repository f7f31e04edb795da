"""Columns and types of the table of head types; docs/tables.md explains each (a test keeps the two equal)."""

TABLES = {
    "head_types": {
        "model": "str",
        "dataset": "str",
        "layer": "int32",
        "head": "int32",
        "previous_token": "float64",
        "previous_token_low": "float64",
        "previous_token_high": "float64",
        "duplicate_token": "float64",
        "duplicate_token_low": "float64",
        "duplicate_token_high": "float64",
        "induction": "float64",
        "induction_low": "float64",
        "induction_high": "float64",
        "uniform": "float64",
        "tokens": "str",
        "length": "int32",
        "bos": "bool",
        "sequences": "int32",
    },
}
