"""The work of the stages of meaningless tokens."""

from atlas.planning.estimates import ROW_TOKENS, Stage, forward

STAGES = {
    "extract_attention": Stage(
        analyses=("meaningless_tokens",),
        flops=lambda job: forward(job, 2 * job.rows * min(job.options["max_tokens"], ROW_TOKENS)),
    ),
}
