"""Several jobs on one load of their model: real runs on a CPU with `one_load: true`, loads counted in the logs.

What is killed, changed or done at once between the jobs never shows in a result.
"""

import os
import signal

import pytest

from atlas.analyses.costs.metrics import gather
from projects import digests, made_once, paused, wait_for

SHARDS = "results/activations/tiny/attention/questions"
TARGET = f"{SHARDS}.safetensors"
ALONE = ("--cores", "1")
TAKEN, COMPUTED = "is taken as it is", "INFO attention: "
KEPT = r"\.ahead/\d-of-4\.[0-9a-f]{32}\."  # which of its jobs Snakemake starts first is open


def set_up(project, shards=4, one_load=True):
    project.configure(lambda config: config["analyses"]["meaningless_tokens"].update(shards=shards))
    project.configure(lambda config: config.update(one_load=one_load))


def logs(project, rule="extract_attention"):
    """{job: its log}."""
    folder = project.folder / "results" / "logs" / rule
    return {path.relative_to(folder).with_suffix("").as_posix(): path.read_text() for path in folder.rglob("*.log")}


def loads(project, rule="extract_attention"):
    """How many times jobs have loaded a model, as they say themselves."""
    return sum(text.count("'attention': 'sdpa'") for text in logs(project, rule).values())


def taken(project, rule="extract_attention"):
    return sum(TAKEN in text for text in logs(project, rule).values())


def computed(project):
    return sum(text.count(COMPUTED) for text in logs(project).values())


def made(project):
    """sha256 of the shards and of what is gathered from them."""
    found = digests(project.folder, f"{SHARDS}/*.safetensors") | digests(project.folder, TARGET)
    assert len(found) == 5
    return found


def nothing_left(project):
    return not list(project.folder.glob("results/**/.ahead"))


def run(project, *arguments):
    process = project.run(*(arguments or (TARGET, *ALONE)))
    assert process.returncode == 0, process.stdout
    return process.stdout


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """Four shards, each with a load of its own. Do not change it."""

    def make(project):
        set_up(project, one_load=False)
        run(project)

    return made_once(tmp_path_factory, "four_loads", make)


@pytest.fixture(scope="module")
def cut_off(tmp_path_factory):
    """A run that was killed when its first job had made two shards and was about to keep a third. Do not change it."""

    def make(project):
        set_up(project)
        run(project, "results/models/tiny", "results/datasets/questions.parquet")
        with paused(project, KEPT, TARGET, *ALONE, skip=1) as (process, _):
            os.killpg(process.pid, signal.SIGKILL)
        run(project, "--unlock")

    return made_once(tmp_path_factory, "cut_off", make)


@pytest.fixture
def killed(cut_off, tmp_path):
    project = cut_off.copy(tmp_path / "project")
    assert len(list((project.folder / SHARDS / ".ahead").glob(f"?-of-4.{32 * '?'}.safetensors"))) == 2
    assert computed(project) == 3
    return project


def test_four_shards_take_one_load_and_are_the_same_bytes(plain, fresh):
    set_up(fresh)
    run(fresh)
    assert (loads(plain), taken(plain)) == (4, 0)
    assert (loads(fresh), taken(fresh)) == (1, 3)
    assert made(fresh) == made(plain)
    assert nothing_left(fresh)
    folder = fresh.folder / "results"
    costs = gather(folder / "benchmarks" / "jobs", folder / "logs", ["tiny"], ["questions"])
    [counted] = costs[costs["rule"] == "extract_attention"].to_dict("records")
    assert (counted["jobs"], counted["rows"], counted["unit"]) == (4, 24, "rows")
    for value in (False, "auto"):  # says how results are made, and not what they are
        fresh.configure(lambda config, value=value: config.update(one_load=value))
        assert fresh.planned(TARGET) == {}


def test_on_a_cpu_each_job_loads_its_model_unless_it_is_told_otherwise(fresh):
    set_up(fresh, shards=2, one_load="auto")
    run(fresh)
    assert (loads(fresh), taken(fresh)) == (2, 0)


def test_other_data_sets_and_stages_are_done_on_the_same_load(fresh):
    """Short answers of two data sets, sinks and attention: they read nothing that another makes."""
    set_up(fresh, shards=2)
    trivia = "results/activations/tiny/qa_answers/{}.parquet"
    fresh.configure(lambda config: config["datasets"].update(more={**config["datasets"]["trivia"], "label": "more"}))
    fresh.configure(lambda config: config["analyses"]["saliency"].update(datasets=["trivia", "more"]))
    targets = (TARGET, "results/activations/tiny/sinks/passages.safetensors", *map(trivia.format, ("trivia", "more")))
    rules = ("extract_attention", "extract_sinks", "generate_qa_answers")
    same = ("--set-resources", *(f"{rule}:mem_mb=2000" for rule in rules))
    prepared = (f"results/datasets/{name}.parquet" for name in ("questions", "passages", "trivia", "more"))
    run(fresh, "results/models/tiny", *prepared)
    run(fresh, *targets, *ALONE, *same)
    assert sum(loads(fresh, rule) for rule in rules) == 1
    assert sum(taken(fresh, rule) for rule in rules) == 6
    assert nothing_left(fresh)
    results = {target: (fresh.folder / target).read_bytes() for target in targets}
    fresh.configure(lambda config: config.update(one_load=False))
    run(fresh, *targets, *ALONE, *same, "--forcerun", *rules)
    assert sum(loads(fresh, rule) for rule in rules) == 7
    assert {target: (fresh.folder / target).read_bytes() for target in targets} == results


def test_nothing_is_made_that_was_not_asked_for(fresh):
    set_up(fresh)
    run(fresh, f"{SHARDS}/2-of-4.safetensors", *ALONE)
    assert [path.name for path in (fresh.folder / SHARDS).iterdir()] == ["2-of-4.safetensors"]
    assert fresh.planned(TARGET) == {"extract_attention": 3, "gather_shards": 1}
    before = (fresh.folder / SHARDS / "2-of-4.safetensors").stat().st_mtime_ns
    run(fresh)
    assert loads(fresh) == 2
    assert (fresh.folder / SHARDS / "2-of-4.safetensors").stat().st_mtime_ns == before


def test_a_dry_run_leaves_nothing(fresh):
    set_up(fresh)
    assert fresh.planned(TARGET)["extract_attention"] == 4
    assert not (fresh.folder / "results" / "activations").exists()


def test_a_job_whose_planned_minutes_are_spent_goes_on_with_nothing(fresh):
    set_up(fresh, shards=2)
    run(fresh, TARGET, *ALONE, "--set-resources", "extract_attention:runtime=0")
    assert (loads(fresh), taken(fresh)) == (2, 0)
    assert "planned 0 minutes are spent" in "".join(logs(fresh).values())
    assert nothing_left(fresh)


def test_two_jobs_at_once_make_each_shard_once(plain, fresh):
    set_up(fresh)
    run(fresh, TARGET, "--cores", "2")
    assert loads(fresh) + taken(fresh) == 4
    assert 1 <= loads(fresh) <= 2
    assert computed(fresh) == 4
    assert made(fresh) == made(plain)
    assert nothing_left(fresh)


def test_a_job_waits_for_another_that_works_on_its_shard_and_does_it_itself_when_that_is_killed(plain, fresh):
    set_up(fresh)
    goals = [f"{SHARDS}/{shard}-of-4.safetensors" for shard in (1, 2)]
    run(fresh, "results/models/tiny", "results/datasets/questions.parquet")
    with paused(fresh, KEPT, *goals, *ALONE) as (process, _):
        [lock] = (fresh.folder / SHARDS / ".ahead").glob("*.lock")
        goal = f"{SHARDS}/{lock.stem}.safetensors"
        # Snakemake lets no second run make the same files. This one of a copy stands for a job on another GPU.
        second = fresh.copy(fresh.folder.parent / "second")
        second.remove(f"{SHARDS}/.ahead")
        (second.folder / SHARDS / ".ahead").symlink_to(lock.parent)
        for part in ("locks", "incomplete"):
            second.remove(f".snakemake/{part}")
        other = second.start(goal, *ALONE)
        log = second.folder / f"results/logs/extract_attention/tiny/questions/{lock.stem}.log"
        wait_for(lambda: log.exists() and "waiting for a job that has the model" in log.read_text())
        assert "'attention': 'sdpa'" not in log.read_text()
        os.killpg(process.pid, signal.SIGKILL)
        assert other.wait(120) == 0, second.said()
    assert "'attention': 'sdpa'" in log.read_text()
    assert digests(second.folder, goal) == digests(plain.folder, goal)


def test_a_killed_run_loses_the_shard_in_work_alone(plain, killed):
    run(killed)
    assert (loads(killed), taken(killed)) == (1, 3)
    assert computed(killed) == 2
    assert made(killed) == made(plain)
    assert nothing_left(killed)


@pytest.mark.parametrize("change", ["option", "code", "data", "damage", "forcerun"])
def test_what_is_out_of_date_is_never_taken(plain, killed, change):
    """Two shards were made before the change: the next run makes all four, on one load."""
    more = ()
    if change == "option":
        killed.configure(lambda config: config["analyses"]["meaningless_tokens"]["span"].update(count=5))
    elif change == "code":
        killed.append("scripts/atlas/analyses/meaningless_tokens/extract.py", "\n_MORE = 1\n")
    elif change == "data":
        killed.edit("tiny/questions.jsonl", '"q0"', '"q00"')
    elif change == "damage":
        for file in (killed.folder / SHARDS / ".ahead").glob("*.safetensors"):
            file.write_bytes(file.read_bytes()[:-1] + b"?")
    else:
        more = ("--forcerun", "extract_attention")
    run(killed, TARGET, *ALONE, *more)
    assert (loads(killed), taken(killed), computed(killed)) == (1, 3, 4)
    assert nothing_left(killed)
    assert (made(killed) == made(plain)) == (change in ("code", "damage", "forcerun"))


def test_code_that_changes_under_a_running_job_ends_the_sharing(plain, fresh):
    set_up(fresh)
    run(fresh, "results/models/tiny", "results/datasets/questions.parquet")
    with paused(fresh, KEPT, TARGET, *ALONE) as (process, _):
        fresh.append("scripts/atlas/analyses/meaningless_tokens/extract.py", "\n# a word\n")
        (fresh.folder / "paused").unlink()
        assert process.wait(300) == 0, fresh.said()
    said = [text for text in logs(fresh).values() if "extract.py was changed since the run began" in text]
    assert [text.count("going on with the loaded model") for text in said].count(1) == 1
    assert (taken(fresh), computed(fresh)) == (1, 4)
    assert made(fresh) == made(plain)
