"""The whole loop, both families, all recipes; what is asked of a finished run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import load_dataset

import selfstudy
from selfstudy.asking import sample_to_file, show_scores, show_solutions
from selfstudy.exporting import export_step
from selfstudy.looking import show_status
from selfstudy.report.results import read_results
from selfstudy.running import show_plan
from selfstudy.storage.judged import read_judged
from selfstudy.storage.records import read_records
from selfstudy.types import Example, Pair, Problem
from tests.system.conftest import hashes

ROOT = Path("selfstudy-runs")


@pytest.mark.parametrize("family", ["causal", "seq2seq"])
def test_the_loop_runs_and_its_parts_fit_together(
    family: str, small: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    config = small(family)
    show_plan(config)
    assert "to do" in capsys.readouterr().out
    assert not (ROOT / "artifacts").exists()  # a plan computes nothing
    results = selfstudy.run(config, quiet=True)
    assert results.models == ["sft", "dpo-1", "dpo-st-1"]
    assert results.chosen in results.models
    assert {split for _, split in results.scores} == {"dev", "test"}
    artifacts = {step.name: step.artifact for step in results.steps}
    assert all(artifacts.values())

    # Pairs: right over wrong, of problems that are not set aside; labels: right samples alone.
    judged = {}
    for name in ("pair-samples-1", "label-samples-1"):
        for sample, verdict in read_judged(artifacts[name], artifacts[f"{name}/verdicts"]):
            judged[sample.problem_id, sample.completion.text] = verdict.outcome
    held_out = {p.id for p in read_records(artifacts["pairs-1"].path / "held_out.jsonl", Problem)}
    pairs = list(read_records(artifacts["pairs-1"].path / "pairs.jsonl", Pair))
    assert pairs
    assert held_out
    assert not held_out & {pair.problem_id for pair in pairs}
    for pair in pairs:
        assert pair.chosen_from == "gold" or judged[pair.problem_id, pair.chosen.text] == "right"
        assert judged[pair.problem_id, pair.rejected.text] == "wrong"
    labels = list(read_records(artifacts["labels-1"].path / "labels.jsonl", Example))
    assert labels
    assert {judged[label.problem_id, label.completion.text] for label in labels} == {"right"}
    assert artifacts["dpo-st-1"].metrics()["pseudo_labels"] == len(labels)

    before = hashes(ROOT)
    selfstudy.run(config, quiet=True)
    assert hashes(ROOT) == before
    events = [json.loads(line) for line in (ROOT / "runs" / family / "events.jsonl").read_text().splitlines()]
    second = [e["event"] for e in events][[e["event"] for e in events].index("run_finished") + 1 :]
    assert set(second) == {"run_started", "step_skipped", "round", "run_finished"}


def test_each_number_of_a_step_is_explained(small: Callable[..., str]) -> None:
    page = (Path(__file__).parents[2] / "docs" / "howto" / "numbers.md").read_text()
    results = selfstudy.run(small("causal"), quiet=True)
    shown = {name for step in results.steps if step.artifact for name in step.artifact.metrics()}
    assert len(shown) > 40
    assert {name for name in shown if f"`{name}`" not in page} == set()


def test_what_is_asked_of_a_finished_run(small: Callable[..., str], capsys: pytest.CaptureFixture[str]) -> None:
    selfstudy.run(small("causal"), quiet=True)
    show_status("causal", ROOT)
    show_status(None, ROOT)
    assert "accuracy" in capsys.readouterr().out
    show_solutions("causal", "Tom has 3 apples and buys 4 more. How many?", calculator=True, temperature=0.0, root=ROOT)
    assert "log-probability" in capsys.readouterr().out
    show_scores("causal:sft", "dev", samples=2, temperature=1.0, calculator=False, seed=1, as_json=True, root=ROOT)
    assert json.loads(capsys.readouterr().out)["accuracy"]["n"] == 6
    sample_to_file(
        "causal", "{name: word_problems, split: test, count: 3}", Path("s.jsonl"), n=2, temperature=1.0,
        calculator=True, seed=0, root=ROOT,
    )  # fmt: skip
    assert len(Path("s.jsonl").read_text().splitlines()) == 6


@pytest.mark.parametrize(
    ("step", "columns"), [("pairs-1", ["prompt", "chosen", "rejected"]), ("labels-1", ["prompt", "completion"])]
)
def test_exports_are_what_trl_reads(small: Callable[..., str], step: str, columns: list[str], tmp_path: Path) -> None:
    selfstudy.run(small("causal"), quiet=True)
    export_step("causal", step, Path("export.jsonl"), ROOT)
    data = load_dataset("json", data_files="export.jsonl", cache_dir=str(tmp_path / "cache"))["train"]
    assert data.column_names == columns
    for row in data:
        assert row["prompt"].endswith("Answer:")
        assert row[columns[1]].startswith(" ")


@pytest.mark.parametrize(
    ("recipe", "models"),
    [("self_training", ["sft", "st-1"]), ("rft", ["sft", "rft"]), ("supervised", ["sft"])],
)
def test_baselines_are_one_setting_away_and_share_the_prefix(
    recipe: str, models: list[str], small: Callable[..., str]
) -> None:
    selfstudy.run(small("causal"), quiet=True, until="sft")
    before = hashes(ROOT)
    results = selfstudy.run(small("causal"), [f"recipe={recipe}"], quiet=True)
    assert results.models == models
    assert before.items() <= hashes(ROOT).items()
    assert sum(name.startswith("sft-") for name in hashes(ROOT)) == len(models)


def test_raising_the_number_of_samples_draws_only_the_new_ones(small: Callable[..., str]) -> None:
    config = small("causal", samples_per_step=2)
    selfstudy.run(config, quiet=True, until="pair-samples-1")
    before = {name for name in hashes(ROOT) if name.startswith("samples")}
    selfstudy.run(config, ["pairs.n=4"], quiet=True, until="pairs-1")
    after = {name for name in hashes(ROOT) if name.startswith("samples")}
    assert before < after
    assert len(after - before) == 1


def test_a_finished_run_is_shown_without_importing_its_plug_ins(small: Callable[..., str]) -> None:
    selfstudy.run(small("causal"), quiet=True, until="sft")
    Path("parity.py").write_text("raise RuntimeError('imported')")
    assert read_results(ROOT / "runs" / "causal").step("sft").artifact
    show_status("causal", ROOT)
