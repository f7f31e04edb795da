"""What the run itself took: time, memory and rates of every rule."""

from atlas.analyses.record import Analysis, Plot

ANALYSES = {
    "costs": Analysis(
        joined=("costs",),
        plots={"costs": Plot(("costs",), "Costs", measures_machine=True)},
        block=False,
    ),
}
