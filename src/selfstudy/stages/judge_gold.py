"""Judge the worked solutions themselves, before any compute: a verifier that cannot read them can read no sample."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar

from selfstudy.errors import DataError
from selfstudy.judging.answers import ensure_answer_line
from selfstudy.judging.judges import check_answers, judged_by
from selfstudy.judging.verifiers import VerifierSpec
from selfstudy.stages.base import Forecast, Inputs, Metrics, Sizes, Stage, one
from selfstudy.storage.records import read_records, writing_records
from selfstudy.storage.splits import stream_split
from selfstudy.types import Completion, Context, Problem, Sample, Verdict


class JudgeGold(Stage):
    """Writes ``not_right.jsonl``: the verdicts on worked solutions that the verifier does not call right."""

    kind: ClassVar[str] = "gold"
    verifier: VerifierSpec

    def run(self, inputs: Inputs, out: Path, ctx: Context) -> Metrics:
        """Judge the solutions of L, and read the answers of all problems.

        Raises:
            DataError: The verifier finds no answer in most of the solutions, calls most of them wrong, or cannot read
                a problem's answer.
        """
        paths = sorted(one(inputs, "problems").path.glob("*.jsonl"))
        everything = (problem for path in paths for problem in read_records(path, Problem))
        solved = stream_split(one(inputs, "problems"), "labelled")
        texts = ((p, _sample(p)) for p in solved)
        outcomes: Counter[str] = Counter()
        firsts: dict[str, Verdict] = {}
        with (
            judged_by(self.verifier, ctx.verifier_timeout) as judge,
            writing_records(out / "not_right.jsonl") as write,
        ):
            check_answers(judge, everything)
            for verdict in judge(texts):
                outcomes[verdict.outcome] += 1
                if verdict.outcome != "right":
                    write(verdict)
                firsts.setdefault(verdict.outcome, verdict)
        for outcome, said, remedy in (
            ("unparsed", "finds no answer in", ", or a finder of it, that reads answers as the solutions state them"),
            ("wrong", "calls wrong", " that accepts these solutions, or correct them"),
        ):
            if 2 * outcomes[outcome] > outcomes.total():
                first = firsts[outcome]
                why = f" ({first.reason})" if first.reason else ""
                raise DataError(
                    f"verifier {self.verifier.name} {said} {outcomes[outcome]} of {outcomes.total()} worked solutions, "
                    f"such as that of {first.problem_id}{why}; choose a verifier{remedy}"
                )
        return {"solutions": outcomes.total(), **{name: outcomes[name] for name in ("right", "wrong", "unparsed")}}

    def forecast(self, sizes: Sizes) -> Forecast:
        """Judging is quick."""
        return Forecast("judge the worked solutions", 0)


def _sample(problem: Problem) -> Sample:
    text = ensure_answer_line(problem.solution or "", problem.answer)
    return Sample(problem.id, 0, Completion(text, (), (), "gold"), 0.0)
