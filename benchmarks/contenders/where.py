"""Where the time of a run of this engine goes."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from selfstudy.generation import attention, engine, packing
from selfstudy.generation.rows import Row

LINEAR, ATTENTION, DRAWING, ROWS = "linear layers", "attention", "drawing", "rows and calculator"


@contextmanager
def noted() -> Iterator[Counter[str]]:
    """Count seconds by part, on a CPU; what is left of a run is norms, activations, and calls from Python."""
    spent: Counter[str] = Counter()

    def noting(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            found = function(*given, **named)
            spent[part] += time.perf_counter() - start  # type: ignore[assignment] # seconds are counted, too
            return found

        return call

    pack = packing._packed_forward
    places: list[tuple[Any, str, str]] = [
        (attention.Decode, "attend", ATTENTION),
        (attention.Prefill, "attend", ATTENTION),
        (engine, "draw", DRAWING),
        (engine, "uniforms", DRAWING),
        (Row, "accept", ROWS),
    ]
    with ExitStack() as stack:
        stack.enter_context(patch.object(packing, "_packed_forward", lambda layer: noting(LINEAR, pack(layer))))
        for holder, name, part in places:
            stack.enter_context(patch.object(holder, name, noting(part, getattr(holder, name))))
        yield spent
