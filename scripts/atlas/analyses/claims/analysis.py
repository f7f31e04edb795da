"""What the sources claim, put to every model: verdicts with intervals, and published values beside measured ones."""

from atlas.analyses.record import Analysis, Plot

ANALYSES = {
    "claims": Analysis(joined=("claims", "published"), plots={"claims": Plot(("claims",), "Claims")}),
}
