"""Judging: a fault of a verifier is a fault, never "wrong"."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from selfstudy.errors import PluginError
from selfstudy.judging.verifiers.numeric import Numeric
from selfstudy.stages.base import Inputs
from selfstudy.stages.verify import Verify
from selfstudy.storage.records import read_records
from selfstudy.types import SILENT, Context, Verdict
from tests.stages.builders import artifact, problem, sample

BODY = '''
from selfstudy.judging.verifiers import Judgement, Verifier


class Mine(Verifier):
    """A user's own."""

    def verify(self, problem, text):
        if problem.id == "p/001":
            {fault}
        return Judgement("right", "7", "fine")
'''


def inputs(folder: Path) -> Inputs:
    texts = ["#### 7", "#### 8", "no idea"]
    samples = [sample(f"p/{n:03d}", k, text) for n in range(3) for k, text in enumerate(texts)]
    return {
        "problems": (artifact(folder / "problems", {"dev": [problem(n) for n in range(3)]}),),
        "samples": (artifact(folder / "samples", {"part-00000": samples[:4], "part-00001": samples[4:]}),),
    }


def run(verifier: Any, folder: Path) -> dict[str, Any]:
    out = folder / "out"
    out.mkdir()
    return Verify(verifier=verifier, split="dev").run(inputs(folder), out, SILENT)


def test_one_verdict_for_each_sample_in_order(tmp_path: Path) -> None:
    metrics = run("numeric", tmp_path)
    assert metrics == {"samples": 9, "right": 3, "wrong": 3, "unparsed": 3}
    verdicts = list(read_records(tmp_path / "out" / "verdicts.jsonl", Verdict))
    assert [(v.problem_id, v.index) for v in verdicts] == [(f"p/{n:03d}", k) for n in range(3) for k in range(3)]
    assert [(v.outcome, v.extracted) for v in verdicts[:3]] == [("right", "7"), ("wrong", "8"), ("unparsed", None)]


@pytest.mark.parametrize("cut", ["", "whole lines", "in a line", "all", "nonsense"])
def test_verdicts_of_an_attempt_that_was_cut_short_are_kept(
    cut: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics, path = run("numeric", tmp_path), tmp_path / "out" / "verdicts.jsonl"
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    left = {
        "": b"",
        "whole lines": b"".join(lines[:4]),
        "in a line": b"".join(lines[:4]) + lines[4][:-1],
        "all": whole,
        "nonsense": b"".join(lines[:4]) + bytes(50) + b"\n" + lines[4],
    }
    path.write_bytes(left[cut])
    asked: list[str] = []
    verify = Numeric.verify
    monkeypatch.setattr(Numeric, "verify", lambda self, p, text: asked.append(p.id) or verify(self, p, text))
    found = Verify(verifier="numeric", split="dev").run(inputs(tmp_path), path.parent, SILENT)  # type: ignore[arg-type]
    assert (found, path.read_bytes()) == (metrics, whole)
    assert len(asked) == {"": 9, "all": 0}.get(cut, 5)


def test_the_bar_moves_by_problems_and_shows_the_share_that_is_right(tmp_path: Path) -> None:
    moved: list[tuple[int, str]] = []

    class Bar:
        def advance(self, amount: int = 1, **shown: float | str) -> None:
            moved.append((amount, str(shown["pass@1"])))

    (tmp_path / "out").mkdir()
    ctx = Context(SILENT.emit, lambda description, total: nullcontext(Bar()))
    Verify(verifier="numeric", split="dev").run(inputs(tmp_path), tmp_path / "out", ctx)  # type: ignore[arg-type]
    assert sum(amount for amount, _ in moved) == 3
    assert [share for _, share in moved[:4]] == ["100.0%", "50.0%", "33.3%", "50.0%"]


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("raise ValueError('odd text')", "raised ValueError in line 10 of mine.py: odd text"),
        ("raise PermissionError('no')", "raised PermissionError in line 10 of mine.py: no"),
        ("return 1 / 0", "raised ZeroDivisionError"),
        ("return None", "returned None"),
        ("return True", "returned True"),
        ("return 'right'", "returned 'right'"),
        ("return ('right', '7', '')", "returned ('right', '7', '')"),
        ("return Judgement('correct', '7', '')", "returned Judgement(outcome='correct'"),
    ],
)
def test_a_fault_names_the_problem_and_is_no_verdict(fault: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(BODY.format(fault=fault))
    with pytest.raises(PluginError) as raised:
        run(str(path), tmp_path)
    assert "verifier Mine: problem p/001, sample 0" in str(raised.value)
    assert message in str(raised.value)
    kept = read_records(tmp_path / "out" / "verdicts.jsonl", Verdict)
    assert [v.problem_id for v in kept] == ["p/000"] * 3


def test_what_was_cut_by_length_is_never_right(tmp_path: Path) -> None:
    """The answer that stands there may be half of another: 7 of 72."""
    given = inputs(tmp_path)
    cut = [sample("p/000", 0, "#### 7", finish="length"), sample("p/000", 1, "#### 7")]
    out = tmp_path / "out"
    out.mkdir()
    given = {**given, "samples": (artifact(tmp_path / "cut", {"part-00000": cut}),)}
    metrics = Verify(verifier="numeric", split="dev").run(given, out, SILENT)  # type: ignore[arg-type]
    assert (metrics["right"], metrics["wrong"]) == (1, 1)
    assert [v.outcome for v in read_records(out / "verdicts.jsonl", Verdict)] == ["wrong", "right"]
