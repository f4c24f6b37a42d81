"""Results: read from a plan and its artifacts, and laid out so that nothing is cropped."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from selfstudy.errors import ConfigError, StorageError
from selfstudy.report.results import Results, find_results, read_results, results_table
from selfstudy.storage.artifacts import Store
from selfstudy.storage.atomic import write_json

MODELS, SPLITS = ("sft", "dpo-1", "dpo-st-1"), ("dev", "test", "transfer-multiarith", "transfer-asdiv")


def interval(value: float, n: int = 200) -> dict[str, float]:
    return {"value": value, "low": max(0.0, value - 0.05), "high": min(1.0, value + 0.05), "n": n}


def scores(number: int, split: str) -> dict[str, Any]:
    found: dict[str, Any] = {"accuracy": interval(0.1 + number / 10, 1319 if split == "test" else 200)}
    if split == "test":
        found |= {
            "pass_at": {"1": interval(0.2), "10": interval(0.9), "5": interval(0.65)},
            "distinct_right": {"value": 1.234, "low": 1.0, "high": 1.5, "n": 1319},
        }
    return found


def make_run(
    root: Path, done: Mapping[str, Any], in_progress: tuple[str, ...] = (), *, seconds: float = 0, **cost: int
) -> Path:
    """Write a plan of evaluations and publish those in ``done``, by step name with their metrics."""
    run = root / "runs" / "mine"
    run.mkdir(parents=True)
    store = Store(root)
    lines = [
        {"name": f"evaluate/{model}/{split}", "kind": "scores", "about": {"model": model, "split": split}}
        for model in MODELS
        for split in SPLITS
    ]
    lines += [{"name": name, "kind": "preference", "about": {}} for name in ("dpo-1", "dpo-2")]
    lines += [{"name": name, "kind": name, "about": {}} for name in ("best", "overlap")]
    for number, line in enumerate(lines):
        line |= {"fingerprint": f"{number:016d}", "inputs": {}, "artifact": ""}
        if line["name"] in done or line["name"] in in_progress:
            with store.building(str(line["kind"]), str(line["fingerprint"])) as out:
                (out / "file").write_text("whole")
                if line["name"] in done:
                    metrics = done[str(line["name"])]
                    facts: dict[str, Any] = {"recipe": {}, "metrics": metrics, "seconds": seconds, **cost}
                    store.publish(str(line["kind"]), str(line["fingerprint"]), **facts)
    write_json(run / "plan.json", lines)
    return run


def all_done() -> dict[str, Any]:
    every = {f"evaluate/{m}/{s}": scores(number, s) for number, m in enumerate(MODELS) for s in SPLITS}
    return every | {"best": {"chosen": "dpo-1"}}


def printed(results: Results, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, highlight=False).print(results_table(results))
    return out.getvalue()


def row(text: str, model: str) -> list[str]:
    """Return the numbers of a model's rows, over all tables."""
    lines = [line for line in text.splitlines() if re.match(rf"(→ |  |   | → ){model} ", line)]
    return re.findall(r"\d+\.\d+ \[[^]]*\]|\d+\.\d+|·", " ".join(lines))


def test_a_finished_run(tmp_path: Path) -> None:
    results = read_results(make_run(tmp_path, all_done()))
    assert results.models == list(MODELS)
    assert results.splits == list(SPLITS)
    assert results.chosen == "dpo-1"
    assert len(results.scores) == 12
    assert results.scores["dpo-1", "test"]["accuracy"]["n"] == 1319
    text = printed(results)
    assert (
        row(text, "dpo-1") == ["20.0 [15.0, 25.0]"] * 2 + ["20.0", "65.0", "90.0", "1.23"] + ["20.0 [15.0, 25.0]"] * 2
    )
    assert "n = 1,319" in text
    assert "→ dpo-1" in text
    assert text.count("→ ") == 3  # once in each table, and in the caption
    assert "transfer-" not in text


@pytest.mark.parametrize("width", [80, 100, 200])
def test_no_number_is_cropped(width: int, tmp_path: Path) -> None:
    text = printed(read_results(make_run(tmp_path, all_done())), width)
    assert "…" not in text
    for number, model in enumerate(MODELS):
        assert len(row(text, model)) == 4 + 4
        assert row(text, model)[0] == f"{10 + 10 * number}.0 [{5 + 10 * number}.0, {15 + 10 * number}.0]"
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width


def test_the_columns_of_a_default_run_fit_a_terminal(tmp_path: Path) -> None:
    """Five columns of scores: no heading is broken over two lines in the usual 80 columns."""
    found = scores(2, "test")
    del found["pass_at"]["10"]
    text = printed(
        read_results(make_run(tmp_path, {"evaluate/dpo-st-1/dev": scores(2, "dev"), "evaluate/dpo-st-1/test": found}))
    )
    heads = text.splitlines()[2:4]
    assert heads[0].split() == ["dev", "test", "pass@1", "pass@5", "distinct"]
    assert heads[1].split() == ["model", "n", "=", "200", "n", "=", "1,319", "test", "test", "test"]


def test_names_are_not_markup(tmp_path: Path) -> None:
    splits = {"transfer-[red]x": {"n": 10, "exact": 1, "near": 0}}
    text = printed(read_results(make_run(tmp_path, all_done() | {"overlap": {"splits": splits}})))
    assert "1 of 10 in [red]x" in text


def test_what_the_guard_decided_stands_below_the_table(tmp_path: Path) -> None:
    decided = {"dpo-1": {"fell_back": True, "used_step": 0}, "dpo-2": {"fell_back": False, "used_step": 40}}
    done = all_done() | {name: {"guard": guard} for name, guard in decided.items()}
    assert "guard: dpo-1 is the SFT model, dpo-2 is the policy after step 40" in printed(
        read_results(make_run(tmp_path, done))
    )
    assert "guard" not in printed(read_results(make_run(tmp_path / "off", all_done() | {"dpo-1": {"pairs": 3}})))


def test_what_was_taught_and_measured_stands_below_the_table(tmp_path: Path) -> None:
    splits = {
        "dev": {"n": 150, "exact": 0, "near": 0},
        "test": {"n": 1319, "exact": 1, "near": 2},
        "transfer-asdiv": {"n": 2093, "exact": 0, "near": 1},
    }
    text = printed(read_results(make_run(tmp_path, all_done() | {"overlap": {"splits": splits}})), 120)
    said = "asked in training too, in the same words or nearly: 3 of 1,319 in test, 1 of 2,093 in asdiv"
    assert said in " ".join(text.split())
    assert "asked in dev" not in text
    in_dev = {"splits": splits, "in_dev": {"test": 4, "transfer-asdiv": 0}}
    text = printed(read_results(make_run(tmp_path / "dev", all_done() | {"overlap": in_dev})), 120)
    assert "asked in dev too, in the same words or nearly: 4 of 1,319 in test" in text.splitlines()
    clean = {"splits": {"dev": splits["dev"]}}
    assert "asked in training" not in printed(read_results(make_run(tmp_path / "c", all_done() | {"overlap": clean})))


def test_the_cost_stands_below_the_table(tmp_path: Path) -> None:
    done = all_done() | {"dpo-1": {"flops": 3 * 10**12}, "dpo-2": {"flops": 10**12}}
    assert "cost: 0 seconds, 4e+12 floating-point operations" in printed(read_results(make_run(tmp_path, done)))


def test_what_it_came_to_in_money_and_memory_stands_there_where_it_is_known(tmp_path: Path) -> None:
    run = make_run(tmp_path, all_done(), seconds=90, peak_memory=2_340_000_000)
    (run / "config.yaml").write_text("seed: 1\nprice_per_hour: 2.5\n")
    results = read_results(run)
    assert results.price == pytest.approx(13 * 90 / 3600 * 2.5)
    text = printed(results)
    assert "price: 0.81, at 2.5 an hour" in text
    assert "peak memory: 2.34 GB" in text
    run = make_run(tmp_path / "unknown", all_done())
    (run / "config.yaml").write_text("seed: 1\n")
    unknown = read_results(run)
    assert (unknown.price, unknown.peak_memory) == (None, None)
    assert "price" not in printed(unknown)
    assert "memory" not in printed(unknown)


def test_the_columns_of_k_are_in_the_order_of_numbers(tmp_path: Path) -> None:
    text = printed(read_results(make_run(tmp_path, all_done())), 200)
    assert re.search(r"pass@1 .*pass@5 .*pass@10", text)


def test_an_unfinished_run_shows_what_there_is(tmp_path: Path) -> None:
    run = make_run(tmp_path, {"evaluate/sft/dev": scores(0, "dev")}, in_progress=("evaluate/dpo-1/dev",))
    results = read_results(run)
    assert results.chosen is None
    assert set(results.scores) == {("sft", "dev")}
    states = {step.name: (step.artifact is not None, step.in_progress) for step in results.steps}
    assert states["evaluate/sft/dev"] == (True, False)
    assert states["evaluate/dpo-1/dev"] == (False, True)
    assert states["evaluate/dpo-st-1/dev"] == (False, False)
    text = printed(results)
    assert row(text, "sft") == ["10.0 [5.0, 15.0]", "·", "·", "·"]
    assert "pass@" not in text
    assert "→" not in text
    assert results.step("best") is not None
    assert results.step("worst") is None


def test_pass_at_k_of_dev_until_test_is_scored(tmp_path: Path) -> None:
    found = scores(0, "test")
    text = printed(read_results(make_run(tmp_path, {"evaluate/sft/dev": found})), 200)
    assert row(text, "sft")[2:6] == ["20.0", "65.0", "90.0", "1.23"]
    assert text.count("dev") == 1 + 4  # the split, and what the other columns are of


def test_a_plan_that_waits_for_a_download(tmp_path: Path) -> None:
    run = tmp_path / "runs" / "mine"
    run.mkdir(parents=True)
    line = {"name": "sft", "kind": "sft", "fingerprint": None, "about": {}, "inputs": {}, "artifact": ""}
    write_json(run / "plan.json", [line])
    (step,) = read_results(run).steps
    assert step.artifact is None
    assert not step.in_progress


@pytest.mark.parametrize("damage", ["size", "missing", "manifest"])
def test_a_damaged_artifact_is_said_to_be_damaged(damage: str, tmp_path: Path) -> None:
    run = make_run(tmp_path, all_done())
    folder = tmp_path / "artifacts" / f"scores-{3:016d}"
    if damage == "missing":
        (folder / "file").unlink()
    else:
        (folder / ("file" if damage == "size" else "manifest.json")).write_text("{")
    with pytest.raises(StorageError, match=rf"scores-{3:016d}.*; delete .* and run again to make it anew"):
        read_results(run)


def test_runs_that_there_are_not() -> None:
    with pytest.raises(ConfigError, match=r"no run 'x' below runs/runs; there are: none"):
        find_results("x", Path("runs"))
