"""The model that is returned is the best one on dev, byte by byte."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from selfstudy.stages import choose
from selfstudy.stages.choose import Choose
from selfstudy.storage.artifacts import MANIFEST, Artifact
from selfstudy.types import SILENT, Context
from tests.stages.builders import artifact


def candidates(folder: Path, scores: Sequence[float]) -> dict[str, tuple[Artifact, ...]]:
    models, evaluations = [], []
    for number, score in enumerate(scores):
        model = artifact(folder / f"m{number}", metrics={})
        for name in ("config.json", "model.safetensors"):
            (model.path / name).write_text(f"{name} of {number}")
        models.append(model)
        evaluations.append(artifact(folder / f"e{number}", metrics={"accuracy": {"value": score}}))
    return {"models": tuple(models), "evaluations": tuple(evaluations)}


@pytest.mark.parametrize(
    ("scores", "best"),
    [((0.1, 0.3, 0.2), 1), ((0.3, 0.3, 0.3), 0), ((0.1, 0.3, 0.3), 1), ((0.0,), 0), ((0.5, 0.4, 0.6), 2)],
)
@pytest.mark.parametrize("linked", [True, False])
def test_takes_the_best_and_of_equals_the_earliest(
    scores: Sequence[float], best: int, linked: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Path) -> None:
        raise OSError("another file system")

    if not linked:
        monkeypatch.setattr(choose.os, "link", refuse)
    out = tmp_path / "out"
    out.mkdir()
    (out / "config.json").write_text("left by a killed attempt")
    events = []
    ctx = Context(lambda name, fields: events.append((name, dict(fields))), SILENT.progress)
    names = tuple(f"model-{number}" for number in range(len(scores)))
    metrics = Choose(names=names).run(candidates(tmp_path, scores), out, ctx)
    assert metrics == {"chosen": f"model-{best}", "dev_accuracy": dict(zip(names, scores, strict=True))}
    assert events == [("model_chosen", metrics)]
    for name in ("config.json", "model.safetensors"):
        assert (out / name).read_text() == f"{name} of {best}"
        assert ((out / name).stat().st_ino == (tmp_path / f"m{best}" / name).stat().st_ino) is linked
        assert (tmp_path / f"m{best}" / name).read_text() == f"{name} of {best}"
    assert not (out / MANIFEST).exists()  # the store writes its own
    assert json.loads((out / "choice.json").read_text())["chosen"] == f"model-{best}"
