"""Real runs of saliency: what the tables hold, what runs again after a change, shards, too few answers for a probe."""

import numpy as np

from atlas.analyses.published import read_table

MODEL_RULES = {"generate_qa_answers", "extract_exact_answers", "extract_hidden_states", "extract_saliency"}
KEYS = ["model", "sample", "flow"]


def table(project, name):
    return read_table(project.folder / "results" / "tables" / f"{name}.parquet", name)


def change(project, **options):
    project.configure(lambda config: config["analyses"]["saliency"].update(options))


def test_tables(finished):
    saliency, auroc = table(finished, "saliency"), table(finished, "probe_auroc")
    assert len(saliency) == 2 * 30 * 4 * 3  # models, samples, flows, losses
    by_loss = {loss: part.set_index(KEYS).sort_index() for loss, part in saliency.groupby("loss")}
    bce, logit = by_loss["probe_bce"], by_loss["probe_logit"]
    np.testing.assert_allclose(bce["saliency"], logit["saliency"] * bce["probe_error"].abs())
    assert ((bce["probe_error"] < 0) == bce["correct"]).all()  # p - 1 of a right answer, p of a wrong one
    for loss in by_loss:
        wide = by_loss[loss]["saliency"].unstack("flow")
        assert (wide["question_to_all"] >= wide["question_to_answer"]).all()
        assert (wide["random_to_all"] >= wide["random_to_answer"]).all()
    trained, control = (part for _, part in logit.groupby("model"))
    assert trained["correct"].tolist() == control["correct"].tolist()
    assert not np.allclose(trained["saliency"], control["saliency"])
    layers, heads = table(finished, "saliency_layers"), table(finished, "head_saliency")
    for model, part in auroc.groupby("model"):
        assert part["layer"].tolist() == [0, 1, 2, 3, 4]
        chosen = part.loc[part["chosen"], "layer"].item()
        assert part.loc[part["layer"] > 0, "auroc"].max() == part.loc[part["chosen"], "auroc"].item()
        for frame in (layers, heads):
            below = frame[(frame["model"] == model) & (frame["loss"] == "probe_bce")]["layer"].unique()
            assert sorted(below) == list(range(chosen))
    nll = layers[layers["loss"] == "answer_nll"].groupby(KEYS)["saliency"].mean()
    np.testing.assert_allclose(nll.sort_index(), by_loss["answer_nll"]["saliency"])
    assert len(table(finished, "saliency_mixture")) == 2 * 2 * 3 * 2


def test_figures(finished):
    svg = (finished.folder / "figures" / "saliency_density.svg").read_text()
    for text in ("Tiny Llama", "Tiny Llama shuffled", "Saliency Score", "Density"):
        assert f">{text}" in svg, text
    caption = (finished.folder / "results" / "captions" / "saliency_density.txt").read_text()
    for fact in ("probe_bce", "right and", "share one area", "content_words", "nested", "A control reads its base's"):
        assert fact in caption, fact
    assert "Hidden state" in (finished.folder / "figures" / "probe_auroc.svg").read_text()


def test_marked_prompts_that_are_left_out_are_counted_whoever_left_them_out(finished):
    """One by the analysis, for want of a label, and one by the data set, whose span it does not have."""
    found = table(finished, "span_saliency")
    assert set(found["dropped"]) == {2}
    assert set(found["prompts"]) == {11}
    caption = (finished.folder / "results" / "captions" / "span_saliency.txt").read_text()
    left_out = "1 left out (marked span that is empty or outside the prompt), 1 left out (no span named label)"
    assert f"Tiny Llama: 11 prompts, {left_out};" in caption


def test_reductions_run_no_model_and_train_no_probe(project):
    change(project, reduction="mean", layers="sum")
    jobs = project.planned("figures/saliency_density")
    assert jobs["compute_saliency"] == 2
    assert not (MODEL_RULES | {"train_probe"}) & jobs.keys()


def test_shards_give_the_same_bytes(project):
    names = ("hidden_states/trivia.safetensors", "saliency/trivia.safetensors")
    targets = [f"results/activations/tiny/{name}" for name in names]
    whole = [(project.folder / target).read_bytes() for target in targets]
    change(project, shards=3)
    process = project.run(*targets)
    assert process.returncode == 0, process.stdout
    assert [(project.folder / target).read_bytes() for target in targets] == whole


def test_too_few_answers_for_a_probe(project):
    change(project, probe={"folds": 10})
    process = project.run("results/metrics/tiny/probe_auroc/trivia.parquet")
    assert process.returncode
    assert "are too few for a probe in 10 folds, which need 20 of each; answer more questions" in process.stdout
    change(project, probe={"folds": 10, "too_few": "answer_nll"})
    project.configure(lambda config: config["figures"]["saliency_density"].update(loss="answer_nll"))
    tables = [f"results/tables/{name}.parquet" for name in ("saliency", "probe_auroc")]
    process = project.run("figures/saliency_density", "figures/probe_auroc", *tables)
    assert process.returncode == 0, process.stdout
    assert set(table(project, "saliency")["loss"]) == {"answer_nll"}
    assert table(project, "probe_auroc")["auroc"].isna().all()
    assert ">Tiny Llama (too few answers of a kind)" in (project.folder / "figures" / "probe_auroc.svg").read_text()
