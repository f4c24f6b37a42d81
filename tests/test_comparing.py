"""Two runs side by side: paired by problem, and only where the problems are the same."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from selfstudy import comparing as module
from selfstudy.cli import main
from selfstudy.comparing import compare, show_comparison
from selfstudy.errors import ConfigError
from selfstudy.evaluation.metrics import paired_bootstrap
from selfstudy.stages.evaluate import summarise
from selfstudy.storage.artifacts import Store
from selfstudy.storage.atomic import write_json
from selfstudy.storage.records import write_records
from selfstudy.types import Problem

A, B = [1, 0, 0, 0, 1, 0], [1, 1, 1, 1, 0, 0]  # right or not, by problem


def asked(split: str, offset: int = 0) -> list[Problem]:
    return [Problem(f"p/{split}/{n}", f"What is {n + offset}?", str(n + offset)) for n in range(6)]


def row(problem_id: str, right: int, samples: int) -> dict[str, Any]:
    found: dict[str, Any] = {"problem_id": problem_id, "outcome": "right" if right else "wrong"}
    found |= {"extracted": "1", "truncated": False, "tokens": 3}
    if samples:
        at = {"1": right / 2, "10": float(right), "2": right * 0.75}
        found |= {"samples": samples, "right": right, "distinct_right": 2 * right, "pass_at": at, "maj_at": {}}
    return found


def make_run(
    root: Path,
    name: str,
    models: Mapping[str, Sequence[int]],
    *,
    splits: Sequence[str] = ("dev", "test"),
    samples: int = 2,
    offset: int = 0,
    chosen: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> None:
    """Write a run whose models were scored as given on every split; on test by samples too."""
    store, plan = Store(root), []

    def publish(step: str, kind: str, about: dict[str, str], files: Mapping[str, Any], metrics: dict[str, Any]) -> None:
        fingerprint = f"{name}-{len(plan)}"
        plan.append(
            {
                "name": step,
                "kind": kind,
                "fingerprint": fingerprint,
                "about": about,
                "inputs": {},
                "artifact": f"{kind}-{fingerprint}",
            }
        )
        with store.building(kind, fingerprint) as out:
            for file, content in files.items():
                if file.endswith(".jsonl"):
                    write_records(out / file, content)
                else:
                    write_json(out / file, content)
            store.publish(kind, fingerprint, recipe={}, metrics=metrics, seconds=1.5)

    publish("problems", "problems", {}, {f"{split}.jsonl": asked(split, offset) for split in splits}, {"flops": 7})
    for model, right in models.items():
        for split in splits:
            rows = [row(f"p/{split}/{n}", r, samples if split == "test" else 0) for n, r in enumerate(right)]
            about = {"model": model, "split": split}
            publish(f"evaluate/{model}/{split}", "scores", about, {"problems.json": rows}, summarise(rows))
    if chosen:
        publish("best", "best", {}, {}, {"chosen": chosen})
    folder = root / "runs" / name
    folder.mkdir(parents=True)
    write_json(folder / "plan.json", plan)
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(settings or {})))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    make_run(tmp_path, "one", {"sft": B, "dpo": A}, chosen="dpo", settings={"seed": 0, "sft": {"lr": 1e-3, "eps": 1}})
    make_run(tmp_path, "two", {"sft": B}, settings={"seed": 0, "sft": {"lr": 0.5, "eps": 1}, "new": {"a": [1, 2]}})
    return tmp_path


def test_differences_are_paired_and_the_test_is_exact(root: Path) -> None:
    """B gains three problems and loses one: p = 2 · (C(4, 0) + C(4, 1)) / 2⁴ = 0.625."""
    found = compare("one", "two", root)
    assert (found.a, found.b) == ("one:dpo", "two:sft")  # what the run returned, and the last one scored
    assert list(found.splits) == ["dev", "test"]
    test = found.splits["test"]
    assert (test.problems, test.only_a, test.only_b, test.p_value) == (6, 1, 3, 0.625)
    ids = [f"p/test/{n}" for n in range(6)]
    expected = paired_bootstrap(dict(zip(ids, B, strict=True)), dict(zip(ids, A, strict=True)), 0)
    assert test.measures["accuracy"].difference == expected
    assert expected.value == pytest.approx(2 / 6)
    assert test.measures["accuracy"].a.value == pytest.approx(2 / 6)
    assert test.measures["accuracy"].b.value == pytest.approx(4 / 6)
    assert list(test.measures) == ["accuracy", "pass@1", "pass@2", "pass@10", "distinct right"]
    assert test.measures["pass@2"].difference.value == pytest.approx(0.75 * 2 / 6)
    assert test.measures["distinct right"].difference.value == pytest.approx(2 * 2 / 6)
    assert list(found.splits["dev"].measures) == ["accuracy"]
    assert found.cost_a.seconds == 1.5 * 6
    assert found.cost_b.flops == 7


def test_what_was_hardly_meant_is_said(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever compares a run that is not finished must not read that self-training gained nothing."""
    unfinished = "run two has not returned a model yet: sft, the last one that it scored, stands for it"
    assert compare("one", "two", root).warnings == (unfinished,)
    assert compare("one:sft", "two:sft", root).warnings == ()
    assert compare("two:sft", "two", root).warnings == (unfinished, "both are two:sft; name the models: RUN:MODEL")
    show_comparison("two:sft", "two", root)
    assert f"warning: {unfinished}" in capsys.readouterr().out


def test_a_model_is_named_as_elsewhere(root: Path) -> None:
    found = compare("one:sft", "one:best", root, "test")
    assert (found.a, found.b, list(found.splits)) == ("one:sft", "one:dpo", ["test"])
    assert found.settings == {}
    assert (found.splits["test"].only_a, found.splits["test"].only_b) == (3, 1)


def test_settings_that_differ(root: Path) -> None:
    assert compare("one", "two", root).settings == {"sft.lr": (0.001, 0.5), "new.a": (None, [1, 2])}


def test_distinct_solutions_are_compared_of_equally_many_samples_alone(root: Path) -> None:
    make_run(root, "more", {"sft": B}, samples=3)
    assert list(compare("one", "more", root, "test").splits["test"].measures) == [
        "accuracy", "pass@1", "pass@2", "pass@10",
    ]  # fmt: skip
    make_run(root, "none", {"sft": B}, samples=0)
    assert list(compare("one", "none", root, "test").splits["test"].measures) == ["accuracy"]


def test_other_questions_under_the_same_ids_are_no_pairs(root: Path) -> None:
    make_run(root, "other", {"sft": B}, offset=1)
    with pytest.raises(ConfigError, match=r"test: other problems: 6 of one, 6 of other, 0 of them shared"):
        compare("one", "other", root, "test")
    # One split that differs does not hide those that do not.
    plan = json.loads((root / "runs" / "other" / "plan.json").read_text())
    problems = root / "artifacts" / f"problems-{plan[0]['fingerprint']}"
    write_records(problems / "dev.jsonl", asked("dev"))
    manifest = json.loads((problems / "manifest.json").read_text())
    manifest["files"]["dev.jsonl"]["size"] = (problems / "dev.jsonl").stat().st_size
    write_json(problems / "manifest.json", manifest)
    found = compare("one", "other", root)
    assert list(found.splits) == ["dev"]
    assert list(found.left_out) == ["test"]


@pytest.mark.parametrize(
    ("a", "b", "split", "message"),
    [
        ("one", "three", None, "no run 'three' below .*; there are: empty, one, test-only, two"),
        ("one:dop", "two", None, "run one has no model 'dop'; did you mean 'dpo'"),
        ("one", "two:best", None, "run two has not made 'best' yet"),
        ("one", "empty", None, "run empty has not scored a model yet"),
        ("one", "two", "tset", "one:dpo and two:sft are not both scored on 'tset'; did you mean 'test'"),
        ("two", "test-only", "dev", "not both scored on 'dev'"),
        ("dev-only", "test-only", None, "dev-only:sft is scored on dev and test-only:sft on test: not one split"),
    ],
)
def test_mistakes(a: str, b: str, split: str | None, message: str, root: Path) -> None:
    make_run(root, "empty", {})
    make_run(root, "test-only", {"sft": A}, splits=["test"])
    if "dev-only" in (a, b):
        make_run(root, "dev-only", {"sft": A}, splits=["dev"])
    with pytest.raises(ConfigError, match=message):
        compare(a, b, root, split)


def test_lines_where_there_is_no_terminal(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison("one", "two", root)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["A is one:dpo", "B is two:sft"]
    (accuracy,) = [line for line in lines if line.startswith("test: greedy accuracy")]
    assert accuracy.startswith("test: greedy accuracy, %: A 33.3 [9.7, 70.0], B 66.7 [30.0, 90.3], B − A +33.3 [")
    assert "test: right by B alone 3, by A alone 1; McNemar's exact p = 0.62" in lines
    assert "  sft.lr: 0.001 → 0.5" in lines
    assert (
        "cost of the whole run: A 9 seconds and 7 floating-point operations by estimate, B 4 seconds and 7 "
        in " ".join(lines)
    )
    assert "  new.a: null → [1, 2]" in lines
    assert not any(character in "".join(lines) for character in "─\x1b")


def test_tables_on_a_terminal_lose_no_number(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(module.console), "is_terminal", property(lambda self: True))
    monkeypatch.setattr(type(module.console), "width", property(lambda self: 80))
    show_comparison("one", "two", root)
    shown = capsys.readouterr().out
    assert "test, 6 problems" in shown
    assert "─" in shown
    assert "33.3 [9.7, 70.0]" in shown
    assert "…" not in shown


def test_other_verifiers_are_said_first(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    show_comparison("one", "two", root)
    assert "verifiers differ" not in capsys.readouterr().out
    for run, verifier in (("by-number", "numeric"), ("by-text", "exact")):
        make_run(root, run, {"sft": B}, settings={"verifier": {"name": verifier}})
    show_comparison("by-number", "by-text", root)
    shown = capsys.readouterr().out
    assert shown.index("the verifiers differ") < shown.index("cost of the whole run")


def test_json_from_the_command_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["compare", "one", "two", "--json", "--split", "test", "--root", str(root)])
    assert stopped.value.code == 0
    found = json.loads(capsys.readouterr().out)
    assert found["splits"]["test"]["measures"]["accuracy"]["difference"]["n"] == 6
    assert found["splits"].keys() == {"test"}
    assert found["settings"]["sft.lr"] == [0.001, 0.5]
    assert found["cost_a"]["flops"] == 7


def test_what_to_do_where_no_split_is_shared(root: Path) -> None:
    plan = root / "runs" / "two" / "plan.json"
    lines = json.loads(plan.read_text())
    write_json(
        plan,
        [{**line, "about": {**line["about"], "split": "else"}} if "split" in line["about"] else line for line in lines],
    )
    with pytest.raises(ConfigError, match=r"not one split is shared; carry both runs out to their end, or name models"):
        compare("one", "two", root)
