"""The work of the stages of attention sinks."""

from atlas.planning.estimates import Stage, forward

STAGES = {
    "extract_sinks": Stage(
        analyses=("sinks",),
        flops=lambda job: forward(job, len(job.options["inputs"]) * job.options["sequences"] * job.options["length"]),
    ),
}
