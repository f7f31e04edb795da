"""Previous-token, duplicate-token and induction heads (Olsson et al. 2022): what the project knows of it."""

from atlas.analyses.record import Analysis, Plot

ANALYSES = {
    "head_types": Analysis(
        kind="text",
        tables=("head_types",),
        extractions={"head_types": "storage"},
        plots={"head_types": Plot(("head_types",), "Standard head types")},
        head_tables=("head_types",),
        head_place=3,
    ),
}
