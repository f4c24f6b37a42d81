"""Judging samples: the one place where a verifier's word becomes a verdict."""

from __future__ import annotations

import traceback
from pathlib import Path

from selfstudy.errors import PluginError, SelfstudyError
from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.types import Outcome, Problem, Sample, Verdict

_OUTCOMES: tuple[Outcome, ...] = ("right", "wrong", "unparsed")


def judge(verifier: Verifier, problem: Problem, sample: Sample) -> Verdict:
    """Judge one sample; a verifier that raises or returns nonsense is a fault, never "wrong".

    A sample that was cut by length is never right: what stands there as the answer may be half of another.

    Raises:
        PluginError: Names the verifier, the problem and the sample.
        SelfstudyError: As the verifier says, where it knows the remedy.
    """
    where = place(type(verifier).__name__, problem, sample)
    try:
        judgement = verifier.verify(problem, sample.completion.text)
    except SelfstudyError:
        raise
    except Exception as error:
        raise PluginError(
            f"{where}: raised {type(error).__name__}{_line(error)}: {error}; mend the verifier and run again"
        ) from error
    if not _is_judgement(judgement):
        raise PluginError(
            f"{where}: returned {judgement!r:.200}; it must return a Judgement(outcome, extracted, reason), the "
            f"outcome one of {', '.join(_OUTCOMES)}, the others texts (extracted may be None)"
        )
    # Plain texts, since records and other processes know no enumeration of a user's own.
    outcome = _OUTCOMES[_OUTCOMES.index(judgement.outcome)]
    extracted = None if judgement.extracted is None else str.__str__(judgement.extracted)
    if outcome == "right" and sample.completion.finish == "length":
        return Verdict(problem.id, sample.index, "wrong", extracted, "cut by length before it ended")
    return Verdict(problem.id, sample.index, outcome, extracted, str.__str__(judgement.reason))


def _line(error: Exception) -> str:
    """Say where the verifier was, in its own file, when it raised."""
    frames = traceback.extract_tb(error.__traceback__)[1:]  # the first is judge's
    own = [frame for frame in frames if frame.filename == frames[0].filename]
    return f" in line {own[-1].lineno} of {Path(own[-1].filename).name}" if own else ""


def place(verifier: str, problem: Problem, sample: Sample) -> str:
    """Say where a verifier is, for an error."""
    return f"verifier {verifier}: problem {problem.id}, sample {sample.index}"


def _is_judgement(value: object) -> bool:
    return (
        isinstance(value, Judgement)
        and isinstance(value.outcome, str)
        and value.outcome in _OUTCOMES
        and isinstance(value.extracted, str | None)
        and isinstance(value.reason, str)
    )
