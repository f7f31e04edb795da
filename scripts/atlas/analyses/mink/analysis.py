"""Min-K% by depth of question, and score gaps (Ko et al. 2024, arXiv 2406.19502): what the project knows of it."""

from atlas.analyses.record import Analysis, Plot

ANALYSES = {
    "mink": Analysis(
        kind="depth",
        tables=("mink", "mink_graphs", "mink_trend", "score_gap", "discrepancy", "depth_accuracy"),
        extractions={"token_logprobs": "storage"},
        answers=("answers",),
        plots={
            "mink_depth": Plot(
                ("mink", "mink_graphs", "mink_trend", "score_gap"),
                "Depthwise memorisation",
                models_of={"score_gap": "kde_models"},
                datasets_of={"score_gap": "kde_dataset"},
            ),
        },
    ),
}
