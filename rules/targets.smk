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


def sentence(target, folder):
    """What is told of a target that nothing makes, with the name that is nearest."""
    near = get_close_matches(target, known_targets(folder), n=1, cutoff=0)
    return f"{target} is nothing that this configuration makes" + (
        f"; the nearest name is {near[0]}." if near else "."
    )


def refused(folder):
    """Input function: the sentence with the name that is nearest to a target which nothing makes."""

    def inputs(wildcards):
        raise WorkflowError(sentence(f"{folder}/{wildcards.unknown}", folder))

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


# Options without a value: what follows them is a target.
FLAGS = {
    "--",
    "-n",
    "--dry-run",
    "--dryrun",
    "-k",
    "--keep-going",
    "-F",
    "--forceall",
    "-f",
    "--force",
    "-p",
}


def told_at_once():
    """Refuse misspelt targets before anything is planned, where the command line says plainly that they are targets."""
    pairs = zip(sys.argv, sys.argv[1:])
    asked = [word for before, word in pairs if before in FLAGS or not before.startswith("-")]
    problems = [
        sentence(word, folder)
        for word in asked
        for folder in REFUSED
        if Path(word).parent == Path(folder)
        and Path(word).name not in {Path(known).name for known in known_targets(folder)}
    ]
    if problems:
        raise WorkflowError("\n".join(dict.fromkeys(problems)))


if workflow.is_main_process and not AS_MODULE:
    told_at_once()
