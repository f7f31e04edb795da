"""Norm of the hidden states by layer, one panel for each model."""

import matplotlib.pyplot as plt

from atlas.plots import style


def draw(tables, options, sources):
    """(figure, caption) from the table token_norms."""
    style.begin()
    models, norms = options["models"], tables["token_norms"]
    size = (options["width"], options["width"] / (1.6 * len(models)))
    figure, grid = plt.subplots(1, len(models), figsize=size, squeeze=False, layout="constrained")
    for axes, model in zip(grid[0], models, strict=True):
        for dataset, rows in norms[norms["model"] == model].groupby("dataset"):
            axes.errorbar(rows["layer"], rows["norm"], rows["norm_sd"], label=options["dataset_labels"][dataset])
        axes.set(
            xlabel="Hidden state", ylabel="L2 norm", title=options["title"].format(label=options["model_labels"][model])
        )
    grid[0, 0].legend(frameon=False)
    return figure, "Mean L2 norm of hidden states by layer; bars are one standard deviation over texts."
