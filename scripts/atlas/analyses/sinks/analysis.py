"""Attention sinks (Gu et al. 2025, arXiv 2410.10781): what the project knows of it."""

from atlas.analyses.record import Analysis, Plot

ANALYSES = {
    "sinks": Analysis(
        kind="text",
        tables=("sinks", "sink_rates", "sink_profile", "sink_norms"),
        extractions={"sinks": "storage"},
        plots={
            "sink_rates": Plot(("sinks", "sink_rates"), "Attention sinks"),
            "sink_profile": Plot(("sink_profile",), "Attention sinks"),
            "sink_norms": Plot(("sink_norms",), "Attention sinks"),
        },
        head_tables=("sinks",),
        head_place=2,
    ),
}
