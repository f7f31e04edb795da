"""Norms of hidden states: what the project knows of it."""

from atlas.analyses.record import Analysis, Plot

ANALYSES = {
    "token_norms": Analysis(
        kind="text",
        tables=("token_norms",),
        plots={"token_norms": Plot(("token_norms",), "Norms of hidden states")},
    ),
}
