"""Judging samples: the one place where a verifier's word becomes a verdict."""

from __future__ import annotations

from selfstudy.errors import PluginError, SelfstudyError
from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.types import Problem, Sample, Verdict


def judge(verifier: Verifier, problem: Problem, sample: Sample) -> Verdict:
    """Judge one sample; a verifier that raises or returns nonsense is a fault, never "wrong".

    A sample that was cut by length is never right: what stands there as the answer may be half of another.

    Raises:
        PluginError: Names the verifier, the problem and the sample.
        SelfstudyError: As the verifier says, where it knows the remedy.
    """
    where = f"verifier {type(verifier).__name__}: problem {problem.id}, sample {sample.index}"
    try:
        judgement = verifier.verify(problem, sample.completion.text)
    except SelfstudyError:
        raise
    except Exception as error:
        raise PluginError(
            f"{where}: raised {type(error).__name__}: {error}; mend the verifier and run again"
        ) from error
    if not isinstance(judgement, Judgement) or judgement.outcome not in ("right", "wrong", "unparsed"):
        raise PluginError(
            f"{where}: returned {judgement!r:.200}; it must return a Judgement(outcome, extracted, reason)"
        )
    if judgement.outcome == "right" and sample.completion.finish == "length":
        return Verdict(problem.id, sample.index, "wrong", judgement.extracted, "cut by length before it ended")
    return Verdict(problem.id, sample.index, judgement.outcome, judgement.extracted, judgement.reason)
