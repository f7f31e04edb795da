"""Columns and types of the tables that join all analyses; docs/tables.md explains each (a test keeps the two equal)."""

TABLES = {
    "heads": {
        "model": "str",
        "layer": "int32",
        "head": "int32",
        "relations_dataset": "str",
        "label": "str",
        "label_null": "str",
        "relation": "str",
        "relation_sign": "str",
        "score": "float64",
        "score_direct": "float64",
        "q_direct": "float64",
        "score_suppression": "float64",
        "q_suppression": "float64",
        "sinks_dataset": "str",
        "epsilon": "float64",
        **{
            f"{name}_{kind}": dtype
            for kind in ("natural", "random", "repeated")
            for name, dtype in (("alpha", "float64"), ("sink", "boolean"), ("sink_rate", "float64"))
        },
        "meaningless_dataset": "str",
        "meaningless_effect": "float64",
        "meaningless_low": "float64",
        "meaningless_high": "float64",
        "span_mass": "float64",
        "saliency_dataset": "str",
        "saliency_loss": "str",
        "saliency_signed": "float64",
        "saliency_absolute": "float64",
        "saliency_share": "float64",
        "safety_dataset": "str",
        "ships_rank": "Int32",
        **{
            f"{name}_{ablation}": dtype
            for ablation in ("undifferentiated", "scaling")
            for name, dtype in (("ships", "float64"), ("kl", "float64"), ("position", "Int32"))
        },
    },
    "head_overlap": {
        "model": "str",
        "metric_a": "str",
        "metric_b": "str",
        "heads": "int32",
        "rho": "float64",
        "low": "float64",
        "high": "float64",
        "p": "float64",
        "q": "float64",
        "rho_within": "float64",
        "within_low": "float64",
        "within_high": "float64",
        "within_p": "float64",
        "within_q": "float64",
        "top": "int32",
        "top_a": "Int32",
        "top_b": "Int32",
        "overlap": "Int32",
        "expected": "float64",
        "chance_low": "Int32",
        "chance_high": "Int32",
        "overlap_p": "float64",
        "overlap_q": "float64",
    },
}
