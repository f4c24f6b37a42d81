"""Choose the pseudo-labels from the pooled, judged samples of all rounds so far."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from pydantic import Field

from selfstudy.config import Settings
from selfstudy.judging.audit import audit
from selfstudy.models.format import FormatSettings
from selfstudy.selection.selectors import SelectorSpec, default_selector, examples, load_selector, survey
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, candidates, one
from selfstudy.storage.records import write_records
from selfstudy.storage.splits import look_up
from selfstudy.types import Context, Example


class LabelSettings(Settings):
    """How pseudo-labels are made.

    Attributes:
        n: Samples drawn for every problem, each round (K in the paper). Recipes without pairs draw those of ``pairs.n``
            as well, so that budgets are equal.
        selector: Which of the right ones are kept.
    """

    n: Annotated[int, Field(ge=1)] = 5
    selector: SelectorSpec = default_selector()


class PseudoLabel(Stage):
    """Writes ``labels.jsonl``: the right and distinct samples, without the gold solutions they were compared with."""

    kind: ClassVar[str] = "labels"
    version: ClassVar[int] = 2  # the audit of steps ends with the line
    settings: LabelSettings
    format: FormatSettings
    seed: int

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Select from ``samples`` with ``verdicts``; gold solutions of ``problems`` come first."""
        selector = load_selector(self.settings.selector)
        found = survey(selector, candidates(inputs, self.format))
        chosen = examples(selector, candidates(inputs, self.format), found.cap, self.seed)
        problems = look_up(one(inputs, "problems"), "unlabelled")
        faults: Counter[str] = Counter()

        def audited() -> Iterator[Example]:
            for example in chosen:
                problem = problems.get(example.problem_id)
                assert problem is not None  # its samples were among the candidates
                faults.update({fault.kind for fault in audit(problem.question, example.completion.text)})
                yield example

        write_records(out / "labels.jsonl", audited())
        return {"pseudo_labels": found.kept, **dataclasses.asdict(found), "with_faults": dict(sorted(faults.items()))}

    def forecast(self, sizes: Sizes) -> Forecast:
        """A share of the samples."""
        return Forecast("select right, distinct solutions", 1500 * sizes.problems.get("unlabelled", 0))
