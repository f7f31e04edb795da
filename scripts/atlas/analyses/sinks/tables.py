"""Columns and types of the tables of attention sinks; docs/tables.md explains each (a test keeps the two equal)."""

TABLES = {
    "sinks": {
        "model": "str",
        "dataset": "str",
        "input": "str",
        "layer": "int32",
        "head": "int32",
        "alpha": "float64",
        "sink_rate": "float64",
        "rate_low": "float64",
        "rate_high": "float64",
        "epsilon": "float64",
        "length": "int32",
        "bos": "bool",
        "sequences": "int32",
    },
    "sink_rates": {
        "model": "str",
        "dataset": "str",
        "input": "str",
        "layer": "Int32",
        "rate": "float64",
        "rate_low": "float64",
        "rate_high": "float64",
        "epsilon": "float64",
        "length": "int32",
        "bos": "bool",
        "sequences": "int32",
        "sequences_dropped": "int32",
    },
}
