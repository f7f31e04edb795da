"""The measures of a head that analyses are compared by: columns of the table heads, oriented and named."""

from typing import NamedTuple


class Metric(NamedTuple):
    """analysis: the block of the configuration it comes from. label: short, of sign * value. unit: of the column.

    sign: -1 where small values are what the analysis looks for; every comparison uses sign * value.
    diverging: whether 0 divides two opposite findings. column: short label of the value itself, where it is another.
    """

    analysis: str
    label: str
    unit: str
    sign: int = 1
    diverging: bool = False
    column: str | None = None


METRICS = {
    "score": Metric("head_categories", "relation φ", "share of pairs"),
    "alpha_natural": Metric("sinks", "sink α₀", "share of attention"),
    "alpha_random": Metric("sinks", "sink α₀, random ids", "share of attention"),
    "alpha_repeated": Metric("sinks", "sink α₀, one id", "share of attention"),
    "meaningless_effect": Metric(
        "meaningless_tokens", "meaningless drop", "relative change", -1, True, "meaningless effect"
    ),
    "span_mass": Metric("meaningless_tokens", "span mass", "share of attention"),
    "saliency_signed": Metric("saliency", "saliency, signed", "per sample", 1, True),
    "saliency_absolute": Metric("saliency", "saliency", "per sample"),
    "saliency_share": Metric("saliency", "saliency, share", "share of all heads"),
    "ships_undifferentiated": Metric("safety_heads", "Ships, undiff.", "degrees"),
    "ships_scaling": Metric("safety_heads", "Ships, scaling", "degrees"),
    "kl_undifferentiated": Metric("safety_heads", "KL, undiff.", "nats"),
    "kl_scaling": Metric("safety_heads", "KL, scaling", "nats"),
}
