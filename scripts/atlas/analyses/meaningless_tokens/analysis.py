"""Attention with meaningless tokens (Shi et al. 2025, arXiv 2510.01032): what the project knows of it."""

from atlas.analyses.record import Analysis, Plot

ANALYSES = {
    "meaningless_tokens": Analysis(
        kind="prompts",
        tables=("attention_weights", "meaningless_effect"),
        extractions={"attention": "storage"},
        plots={
            # The source's figure has this name; sinks of attention are the analysis sinks.
            "attention_sinks": Plot(("attention_weights", "meaningless_effect"), "Attention with meaningless tokens"),
        },
        head_tables=("meaningless_effect",),
        head_place=4,
    ),
}
