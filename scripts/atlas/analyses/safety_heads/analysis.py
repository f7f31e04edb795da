"""Safety heads by generalized Ships (Zhou et al. 2025, arXiv 2410.13708), their groups, and what ablating them does."""

from atlas.analyses.record import Analysis, Plot

_CATEGORY = "Safety heads"

ANALYSES = {
    "safety_heads": Analysis(
        kind="prompts",
        tables=("safety_heads", "safety_queries"),
        extractions={"head_ablations": "storage"},
        plots={
            "safety_heads": Plot(("safety_heads",), _CATEGORY),
            "prompt_heads": Plot(("safety_queries",), _CATEGORY),
        },
        head_tables=("safety_heads",),
        head_place=6,
    ),
    "head_groups": Analysis(kind="prompts", tables=("head_groups",), starts_from="safety_heads"),
    "ablation_effect": Analysis(
        kind="prompts",
        tables=("ablation_effect",),
        # The search for groups is an analysis of its own; where it is configured, the caption names what it found.
        plots={"safety_effect": Plot(("ablation_effect",), _CATEGORY, beside=("head_groups",))},
        starts_from="safety_heads",
    ),
}
