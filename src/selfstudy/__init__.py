"""Selfstudy: teach a small language model to reason from its own attempts.

The names in ``__all__`` are the package's interface. Each is imported when it is first asked for, so that ``import
selfstudy`` takes no time and no PyTorch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selfstudy.asking import Model, find_model
    from selfstudy.comparing import Comparison, compare
    from selfstudy.errors import SelfstudyError
    from selfstudy.judging.verifiers import Judgement, Verifier, load_verifier
    from selfstudy.problems.sources import ProblemSource
    from selfstudy.report.results import Results, find_results
    from selfstudy.running import run
    from selfstudy.types import Problem

    __version__: str

__all__ = [
    "Comparison",
    "Judgement",
    "Model",
    "Problem",
    "ProblemSource",
    "Results",
    "SelfstudyError",
    "Verifier",
    "compare",
    "find_model",
    "find_results",
    "load_verifier",
    "run",
]

_HOMES = {
    "asking": ("Model", "find_model"),
    "comparing": ("Comparison", "compare"),
    "errors": ("SelfstudyError",),
    "judging.verifiers": ("Judgement", "Verifier", "load_verifier"),
    "problems.sources": ("ProblemSource",),
    "report.results": ("Results", "find_results"),
    "running": ("run",),
    "types": ("Problem",),
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return import_module("importlib.metadata").version(__name__)
    for home, names in _HOMES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{home}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
