"""What the benchmarks make of their numbers: rows and bars, fitted exponents, tables; no model is run."""

import csv
import inspect
import math

import growth_report
import pytest
import run_all
import ships
import side_by_side
from growth_report import fit, fixed_cost, markdown, panels, summary, table

from places import ROOT

pytestmark = pytest.mark.slow

LENGTHS = (256, 512, 1024, 2048, 4096)


def points(name, xs, seconds, mib=None):
    mib = mib or [None] * len(xs)
    return {name: [dict(x=x, seconds=s, mib=m) for x, s, m in zip(xs, seconds, mib, strict=True)]}


def test_variants_take_turns_and_only_seconds_are_taken_for_seconds():
    ran = []

    def variant(name, answer):
        ran.append(name)
        return answer

    variants = {"own": lambda: variant("own", side_by_side.Seconds(7)), "result": lambda: variant("result", 9.0)}
    seconds = side_by_side.alternate(variants, 2)
    assert ran == ["own", "result", "result", "own"]
    assert seconds["own"] == [7.0, 7.0]
    assert max(seconds["result"]) < 1


@pytest.mark.parametrize("exponent", [0.5, 1.0, 1.7, 2.0])
def test_exponent_of_a_power_law(exponent):
    found = fit(LENGTHS, [3e-4 * x**exponent for x in LENGTHS])
    assert found.exponent == pytest.approx(exponent)
    assert found.last == pytest.approx(exponent)
    assert found.scale == pytest.approx(3e-4)
    assert found.error == pytest.approx(0, abs=1e-6)
    assert found.xs == LENGTHS


def test_exponent_of_a_sum_lies_between_its_terms_and_the_last_shows_where_it_goes():
    """Seconds of a fixed part, a linear and a quadratic one, given in any order."""
    found = fit(LENGTHS[::-1], [0.1 + 1e-4 * x + 1e-6 * x**2 for x in LENGTHS[::-1]])
    assert 0.5 < found.exponent < found.last < 2
    high, low = (0.1 + 1e-4 * x + 1e-6 * x**2 for x in (4096, 2048))
    assert found.last == pytest.approx(math.log2(high / low))


def test_exponent_needs_three_sizes_at_which_something_was_measured():
    assert fit((1, 2), (1, 2)) is None
    assert fit((1, 2, 2, 2), (1, 2, 2, 3)) is None
    assert fit((1, 2, 4, 8), (0, None, 4, 8)) is None
    found = fit((1, 2, 4, 8), (0, 2, 4, 8))
    assert found.xs == (2, 4, 8)
    assert found.exponent == pytest.approx(1)


def test_fixed_cost_of_shards():
    """Four shards of 3 s each on top of 20 s that they divide among them."""
    assert fixed_cost((1, 2, 4), (23, 26, 32)) == pytest.approx((3, 20))


def test_table_is_in_order_and_refuses_unknown_series():
    measured = points("shards", (4, 1, 2), (32, 23, 26)) | points("column_statistics", (512, 256), (2, 1), (20, 10))
    rows = table(measured)
    assert [tuple(found) for found in rows] == [("series", "axis", "x", "seconds", "mib")] * 5
    assert [(found["series"], found["x"]) for found in rows] == [
        ("column_statistics", 256), ("column_statistics", 512), ("shards", 1), ("shards", 2), ("shards", 4)
    ]  # fmt: skip
    assert rows[0] == {"series": "column_statistics", "axis": "tokens", "x": 256, "seconds": 1, "mib": 10}
    with pytest.raises(ValueError, match="nothing"):
        table(points("nothing", (1,), (1,)))


def test_summary_has_a_row_per_exponent_and_holds_it_to_its_bar():
    linear, square = [x / 1e3 for x in LENGTHS], [x**2 / 1e6 for x in LENGTHS]
    measured = points("column_statistics", LENGTHS, linear, square) | points("output_attentions", LENGTHS, square)
    measured |= points("shards", (1, 2, 4), (23, 26, 32)) | points("min_k_tokens", (1, 2), (1, 2))
    rows = summary(table(measured), {"output_attentions": "left out"})
    assert [list(found) for found in rows] == [side_by_side.COLUMNS] * 4
    told = {found["measure"]: (float(found["ratio"]), found["bar"], found["met"]) for found in rows}
    assert told == {
        "Column statistics: exponent of seconds in tokens": (1, "2", True),
        "Column statistics: exponent of MiB in tokens": (2, "1.2", False),
        "output_attentions: exponent of seconds in tokens": (2, "", ""),
        "Shards: processor seconds that each adds": (3, "", ""),
    }
    assert rows[2]["note"].endswith("left out")
    assert "256 to 4,096 tokens (5 points)" in rows[0]["note"]


def test_panels_put_both_ways_side_by_side_and_leave_out_what_was_not_measured():
    measured = points("column_statistics", LENGTHS, LENGTHS, LENGTHS) | points("maps_heads", (1, 3, 9), (1, 2, 3))
    measured |= points("output_attentions", LENGTHS, LENGTHS, LENGTHS)
    both = ["column_statistics", "output_attentions"]
    assert panels(table(measured)) == [
        ("Column statistics", "tokens", "seconds", both),
        ("Column statistics", "tokens", "mib", both),
        ("MAPS", "heads", "seconds", ["maps_heads"]),
    ]


def test_figure_and_markdown_of_growth(tmp_path):
    measured = points("ships_heads", (2, 6, 18), (1, 2, 5), (0, 1, 2)) | points("shards", (1, 2), (5, 6))
    rows = table(measured)
    growth_report.draw(rows, "a model", tmp_path / "growth")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["growth.pdf", "growth.png", "growth.svg"]
    text = markdown(rows, summary(rows), "a model")
    assert "| ships_heads | heads | 18 | 5 | 2 |" in text
    assert "| shards | shards | 2 | 6 |  |" in text


def test_summary_of_all_benchmarks(tmp_path):
    """Rows go to csv and come back as the adapter of run_all reads them, and are drawn and shown."""
    rows = [
        side_by_side.row("fast", 4.0, 3.0, ours_seconds=1.0, published_seconds=4.0, floor_seconds=0.5),
        side_by_side.row("slow", 1.5, 1.2, most=True, ours_seconds=3.0, simple_seconds=2.0, note="n"),
        side_by_side.row("equal", 0, 0, most=True),
    ]
    assert side_by_side.finish(rows, tmp_path / "x.csv") == 1  # `slow` misses its bar
    assert side_by_side.finish(rows[::2], tmp_path / "y.csv") == 0
    with (tmp_path / "x.csv").open() as handle:
        read = list(csv.DictReader(handle))
    run_all.draw(read, tmp_path / "summary")
    assert (tmp_path / "summary.pdf").exists()
    lines = run_all.markdown(read, "here").splitlines()
    assert lines[4].startswith("| measure | ratio | bar | met | ours_seconds |")
    assert "| equal | 0 | 0 | True |" in lines[-1]
    assert "ours_mib" not in lines[4]


def test_every_benchmark_is_run_with_options_that_it_has():
    own = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "return finish(" in path.read_text()}
    assert own == set(run_all.SIZES)
    for name, sizes in run_all.SIZES.items():
        source = (ROOT / f"benchmarks/{name}.py").read_text()
        if "options(" in source:  # what all benchmarks take
            source += inspect.getsource(side_by_side.options)
        asked = {option for options in sizes for option in options if option.startswith("--")} | {"--threads"}
        asked |= set() if name in run_all.READS_NO_MODEL else {"--model"}
        assert not {option for option in asked if f'"{option}"' not in source}, name


@pytest.mark.parametrize(("half", "bar"), [(200.0, 10.0), (199.0, None), (84.0, None)])
def test_bar_of_bfloat16_holds_where_the_machine_multiplies_it_fast(half, bar):
    rate = {"atlas": 100.0, "atlas_bf16": half}
    found, remark = ships.bar_where("atlas_bf16", "published", rate)
    assert found == bar
    assert ("no bar" in remark) is (bar is None)
    assert ships.bar_where("atlas", "published", rate) == (4.0, "")
