"""Targets that nothing makes."""

from difflib import get_close_matches

REFUSED = {
    "figures": "figures",
    f"{OWN}/tables": "tables",
    "results/models": "models",
    **({DRAWN: "figures_of_run"} if RUN else {}),
}


def known_targets(folder):
    """What a user may name in one of these folders."""
    if folder == "results/models":
        return [f"{folder}/{model}" for model in MODELS]
    if folder == f"{OWN}/tables":
        names = [Path(file).stem for file in table_files()]
        return [
            f"{folder}/{name}.{end}" for name in (*names, "costs") for end in ("csv", "parquet")
        ]
    return [
        "figures/all",
        f"{DRAWN}/manifest.sha256",
        *(f"figures/{figure}" for figure in FIGURES),
        *figure_files(),
    ]


def refused(folder):
    """Input function: the sentence with the name that is nearest to a target which nothing makes."""

    def inputs(wildcards):
        target, known = f"{folder}/{wildcards.unknown}", known_targets(folder)
        near = get_close_matches(target, known, n=1, cutoff=0)
        raise WorkflowError(
            f"{target} is nothing that this configuration makes"
            + (f"; the nearest name is {near[0]}." if near else ".")
        )

    return inputs


for folder, what in REFUSED.items():

    # Matches what no other rule does, so that a misspelt name is told the right one.
    rule:
        name:
            f"unknown_{what}"
        input:
            refused(folder),
        output:
            f"{folder}/{{unknown}}",
        wildcard_constraints:
            unknown="(?!(?:{})$)[^/]+".format(
                "|".join(re.escape(Path(known).name) for known in known_targets(folder))
            ),
