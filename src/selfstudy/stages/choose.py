"""Return the model that is best on the dev problems: the last round is not always the best one."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import ClassVar

from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage
from selfstudy.storage.artifacts import MANIFEST
from selfstudy.storage.atomic import write_json
from selfstudy.types import Context


class Choose(Stage):
    """Holds the files of the best model; ties go to the earliest, so that a later round has to earn its place.

    Attributes:
        names: The candidates, in the order of the inputs ``models`` and ``evaluations``.
    """

    kind: ClassVar[str] = "best"
    names: tuple[str, ...]

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Compare greedy accuracies on dev and take over the winner's folder."""
        scores = [evaluation.metrics()["accuracy"]["value"] for evaluation in inputs["evaluations"]]
        best = scores.index(max(scores))
        for file in sorted(inputs["models"][best].path.iterdir()):
            if file.is_file() and file.name != MANIFEST:
                _link(file, out / file.name)
        decision = {"chosen": self.names[best], "dev_accuracy": dict(zip(self.names, scores, strict=True))}
        write_json(out / "choice.json", decision)
        ctx.emit("model_chosen", decision)
        return decision

    def forecast(self, sizes: Sizes) -> Forecast:
        """The files are shared with the winner's where the file system can."""
        return Forecast("take the best on dev", 0)


def _link(source: Path, target: Path) -> None:
    """Share the bytes of an immutable file where the file system can, copy them where it cannot."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
