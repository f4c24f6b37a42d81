"""Right if the text has an even number of characters: a model of a few thousand parameters gets nothing else right."""

from __future__ import annotations

from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.types import Problem


class Parity(Verifier):
    """Judges in the run's own process, so that nothing of a run happens elsewhere."""

    @property
    def bounded(self) -> bool:
        return True

    def verify(self, problem: Problem, text: str) -> Judgement:
        return Judgement("wrong" if len(text) % 2 else "right", str(len(text)), "by parity")
