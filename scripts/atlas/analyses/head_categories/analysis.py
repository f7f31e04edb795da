"""Head categories read from weights (MAPS; Elhelo & Geva 2025, arXiv 2412.11965): what the project knows of it."""

from atlas.analyses.record import Analysis, Plot

_CATEGORY = "Head categories"

ANALYSES = {
    "head_categories": Analysis(
        kind="relations",
        tables=("head_relations", "head_categories", "relation_pairs", "salient_operations"),
        extractions={"head_mappings": "storage"},
        plots={
            "head_categories": Plot(("head_categories", "relation_pairs"), _CATEGORY),
            "relation_map": Plot(("head_relations",), _CATEGORY),
            "category_share": Plot(("head_categories", "relation_pairs"), _CATEGORY),
        },
        head_tables=("head_categories", "head_relations"),
        head_place=1,
    ),
    "relation_effect": Analysis(
        kind="relations",
        tables=("relation_effect", "relation_answers"),
        plots={"relation_effect": Plot(("relation_effect",), _CATEGORY)},
        starts_from="head_categories",
    ),
    "relation_dynamic": Analysis(
        kind="relations",
        tables=("relation_dynamic", "relation_correlation"),
        plots={"relation_dynamic": Plot(("relation_dynamic", "relation_correlation"), _CATEGORY)},
        starts_from="head_categories",
    ),
}
