"""The guard of preference learning: it watches what the policy is trained for, the yield of pseudo-labels.

Preference learning is known to lower the likelihood of right answers too and can destroy a small model while its pair
accuracy rises. So every few steps the policy draws solutions of problems from dev, which it never learns from; what
counts is the number of distinct right ones. The best checkpoint is used; if it is worse than the SFT model by more than
chance, that one is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Annotated, Any

from pydantic import Field
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights
from transformers import PreTrainedModel

from selfstudy.config import Settings
from selfstudy.errors import StorageError
from selfstudy.generation.solver import Solver
from selfstudy.judging.judges import Judge
from selfstudy.selection.similarity import deduplicate
from selfstudy.storage.artifacts import sha256
from selfstudy.storage.atomic import as_os_error, replacing, write_json
from selfstudy.types import Completion, Context, Problem


class GuardSettings(Settings):
    """How the policy is watched.

    Attributes:
        every: Optimizer steps between two looks.
        problems: Problems of dev that are sampled; all if there are fewer.
        samples: Samples a problem.
        patience: Looks in a row that are worse than the SFT model by more than chance, after which training stops.
        threshold: Solutions more similar than this (Jaccard, on tokens) count as one.
    """

    every: Annotated[int, Field(ge=1)] = 20
    problems: Annotated[int, Field(ge=1)] = 200
    samples: Annotated[int, Field(ge=1)] = 4
    patience: Annotated[int, Field(ge=1)] = 2
    threshold: Annotated[float, Field(ge=0, le=1)] = 0.7


@dataclass
class Guard:
    """Looks at a policy in training.

    What it saw is kept in ``guard.json``: a look is a pure function of (seed, step), so that after a kill looks are
    taken from there instead of being repeated.

    Attributes:
        settings: When and how to look.
        model: The policy, trained in place.
        solver: Draws from it.
        problems: What it draws solutions of.
        judge: Decides what is right.
        folder: The stage's working folder.
        ctx: Gets a ``guard`` event for every look.
    """

    settings: GuardSettings
    model: PreTrainedModel
    solver: Solver
    problems: Sequence[Problem]
    judge: Judge
    folder: Path
    ctx: Context

    @property
    def degraded(self) -> bool:
        """Whether memory was too small for a look, so that it was drawn in smaller batches."""
        return any(look.get("degraded", False) for look in self._looks())

    @property
    def flops(self) -> int:
        """Operations of all looks."""
        return sum(look["flops"] for look in self._looks())

    def look(self, step: int) -> bool:
        """Score the policy if it is time to; return whether training should stop."""
        if step % self.settings.every:  # nor does a final look that a killed attempt left decide anything
            return False
        self.score(step)
        recent = [look for look in self._looks() if 0 < look["step"] <= step][-self.settings.patience :]
        return len(recent) == self.settings.patience and all(map(self._worse, recent))

    def score(self, step: int) -> None:
        """Look at the policy as it is now; keep its weights if they are the first, or the best since."""
        looks = self._looks()
        if any(look["step"] == step for look in looks):
            return
        requests = self.solver.requests(self.problems, range(self.settings.samples))
        by_id = {problem.id: problem for problem in self.problems}
        right: dict[str, list[Completion]] = {}
        count = 0
        halved = self.solver.halved
        samples = self.solver.draw(requests)
        verdicts = self.judge((by_id[sample.problem_id], sample) for sample in samples)
        for sample, verdict in zip(samples, verdicts, strict=True):
            if verdict.outcome == "right":
                right.setdefault(sample.problem_id, []).append(sample.completion)
                count += 1
        distinct = [len(deduplicate(right.get(each.id, []), self.settings.threshold)) for each in self.problems]
        seen = {
            "step": step,
            "yield": fmean(distinct),
            "accuracy": count / len(requests) / self.settings.samples,
            "flops": self.solver.flops(requests, samples),
        }
        degraded = {"degraded": True} if self.solver.halved > halved else {}
        look = {**seen, "distinct": distinct, **degraded}
        if step == 0 or look is _best([*looks, look]):
            self._weights(step).parent.mkdir(exist_ok=True)
            with replacing(self._weights(step)) as temporary, as_os_error(self._weights(step)):
                save_weights(self.model, str(temporary))
            write_json(self._digest(step), sha256(self._weights(step)))
        write_json(self.folder / "guard.json", [*looks, look])
        self.ctx.emit("guard", seen)
        for old in looks[1:]:  # only the first and the best are ever asked for
            if old is not _best([*looks, look]):
                self._weights(old["step"]).unlink(missing_ok=True)
                self._digest(old["step"]).unlink(missing_ok=True)

    def decide(self) -> dict[str, Any]:
        """Load the best weights, or the SFT model's own, into the model; say which and why."""
        looks = self._looks()
        best, start = _best(looks), looks[0]["yield"]
        fell_back = self._worse(best)
        used = looks[0] if fell_back else best
        self._load(used["step"])
        compared = (
            f"step {best['step']} yields {best['yield']:.3f} distinct right solutions a problem, SFT {start:.3f} "
            f"(standard error of the difference {self._difference(best)[1]:.3f})"
        )
        decision = {
            "used_step": used["step"],
            "fell_back": fell_back,
            "last_step": looks[-1]["step"],
            "sft_yield": start,
            "used_yield": used["yield"],
            "reason": f"{compared}; the SFT model is kept" if fell_back else compared,
        }
        self.ctx.emit("guard_decided", decision)
        return decision

    def _worse(self, look: Mapping[str, Any]) -> bool:
        """Say whether a look is below the SFT model's by more than a standard error of their difference.

        Models within one standard error are not told apart (Breiman et al., Classification and Regression Trees, 1984,
        section 3.4.3): a policy that gains nothing in yield would otherwise be dropped half the time, by chance.
        """
        mean, error = self._difference(look)
        return mean < -error

    def _difference(self, look: Mapping[str, Any]) -> tuple[float, float]:
        """Return mean and standard error, over problems, of the distinct right solutions beyond the SFT model's."""
        gains = [after - before for after, before in zip(look["distinct"], self._looks()[0]["distinct"], strict=True)]
        return fmean(gains), stdev(gains) / math.sqrt(len(gains)) if len(gains) > 1 else 0.0

    def _load(self, step: int) -> None:
        path = self._weights(step)
        try:
            whole = sha256(path) == json.loads(self._digest(step).read_text(encoding="ascii"))
        except (OSError, ValueError):
            whole = False
        if not whole:
            raise StorageError(
                f"{path} is gone or not as it was written: a disk's fault; delete {self.folder} and run again"
            )
        load_weights(self.model, str(path))

    def _digest(self, step: int) -> Path:
        return self._weights(step).with_suffix(".json")

    def _weights(self, step: int) -> Path:
        return self.folder / "best" / f"step-{step:06d}.safetensors"

    def _looks(self) -> list[dict[str, Any]]:
        path = self.folder / "guard.json"
        try:
            looks: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
        except ValueError as error:
            raise StorageError(f"{path} cannot be read ({error}); delete {self.folder} and run again") from None
        return looks


def _best(looks: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the look after the first with the highest yield; of several, that with more right, then the earliest."""
    return max(looks[1:] or looks, key=lambda look: (look["yield"], look["accuracy"], -look["step"]))
