"""Saliency of the flow from question to answer (Luo et al. 2026, arXiv 2601.07422), and between marked parts of prompts
(Wang et al. 2023, arXiv 2305.14160): what the project knows of them."""

from atlas.analyses.record import Analysis, Plot

_CATEGORY = "Saliency of question-to-answer flow"

ANALYSES = {
    "saliency": Analysis(
        kind="qa",
        tables=(
            "saliency",
            "saliency_layers",
            "head_saliency",
            "saliency_mixture",
            "probe_auroc",
            "qa_answers",
            "qa_dropped",
        ),
        extractions={"hidden_states": "storage", "saliency": "storage"},
        answers=("qa_answers",),
        plots={
            "saliency_density": Plot(("saliency", "saliency_mixture", "probe_auroc"), _CATEGORY),
            "saliency_by_layer": Plot(("saliency_layers",), _CATEGORY),
            "probe_auroc": Plot(("probe_auroc",), _CATEGORY),
        },
        head_tables=("head_saliency",),
        head_place=5,
    ),
    "span_saliency": Analysis(
        kind="marked",
        tables=("span_saliency",),
        extractions={"span_saliency": "storage"},
        plots={"span_saliency": Plot(("span_saliency",), "Saliency between marked spans")},
    ),
}
