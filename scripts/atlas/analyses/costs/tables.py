"""Columns and types of the tables of what a run took; docs/tables.md explains each (a test keeps the two equal)."""

TABLES = {
    "costs": {
        "stage": "str",
        "rule": "str",
        "model": "str",
        "dataset": "str",
        "jobs": "int32",
        "seconds": "float64",
        "seconds_longest": "float64",
        "cpu_seconds": "float64",
        "memory_mib": "float64",
        "rows": "int64",
        "unit": "str",
        "rows_per_second": "float64",
        "device": "str",
        "device_mib": "float64",
    },
}
