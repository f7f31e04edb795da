"""Columns and types of the table of norms."""

TABLES = {
    "token_norms": {
        "model": "str",
        "dataset": "str",
        "layer": "int32",
        "norm": "float64",
        "norm_sd": "float64",
        "texts": "int32",
    },
}
