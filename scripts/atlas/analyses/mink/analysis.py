"""Min-K% by depth of question, and score gaps (Ko et al. 2024, arXiv 2406.19502); membership in what a model was
trained on (Shi et al. 2024, arXiv 2310.16789): what the project knows of them."""

from atlas.analyses.record import Analysis, Plot

ANALYSES = {
    "mink": Analysis(
        kind="depth",
        tables=("mink", "mink_graphs", "mink_trend", "score_gap", "discrepancy", "depth_accuracy"),
        extractions={"token_logprobs": "storage"},
        answers=("answers", "context_answers"),
        plots={
            "mink_depth": Plot(
                ("mink", "mink_graphs", "mink_trend", "score_gap"),
                "Depthwise memorisation",
                models_of={"score_gap": "kde_models"},
                datasets_of={"score_gap": "kde_dataset"},
            ),
            "depth_prompts": Plot(
                ("depth_accuracy", "discrepancy"),
                "Depthwise memorisation",
                models_of={"depth_accuracy": "models", "discrepancy": "models"},
            ),
        },
    ),
    "membership": Analysis(
        kind="membership",
        tables=("membership", "membership_scores"),
        extractions={"membership_logprobs": "storage"},
        plots={"membership_roc": Plot(("membership", "membership_scores"), "Membership")},
    ),
}
