"""Columns and types of the tables that join all analyses; docs/tables.md explains each (a test keeps the two equal)."""

TABLES = {
    # Followed by what head_columns.py of each analysis of heads gives (registry.py puts them together).
    "heads": {"model": "str", "layer": "int32", "head": "int32"},
    "head_overlap": {
        "model": "str",
        "metric_a": "str",
        "metric_b": "str",
        "heads": "int32",
        "rho": "float64",
        "low": "float64",
        "high": "float64",
        "p": "float64",
        "q": "float64",
        "rho_within": "float64",
        "within_low": "float64",
        "within_high": "float64",
        "within_p": "float64",
        "within_q": "float64",
        "top": "int32",
        "top_a": "Int32",
        "top_b": "Int32",
        "overlap": "Int32",
        "expected": "float64",
        "chance_low": "Int32",
        "chance_high": "Int32",
        "overlap_p": "float64",
        "overlap_q": "float64",
    },
}
