"""Other processes that compute beside this one: how they start, and that they end with it."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from multiprocessing.process import BaseProcess
from threading import Thread
from types import ModuleType
from typing import Any

from selfstudy.evaluation.memory import count_process, own_peak

# What takes seconds to import, and uses neither threads nor a GPU before it is called.
_HEAVY = ["torch", "transformers", "transformers.generation", "transformers.modeling_utils"]


def start_process(target: Callable[..., None], *facts: Any, name: str | None = None) -> BaseProcess:
    """Start a process that calls ``target(*facts)`` and dies with this one, however that ends.

    On Linux it is forked from a server that has imported what is heavy and has done nothing else: threads and CUDA do
    not survive a fork, and a new interpreter takes seconds before it computes. Elsewhere it is a new interpreter, since
    system libraries may have begun threads when they were imported.

    Args:
        target: Must be picklable, and no part of it defined in the script that runs, which is not imported there: one
            that starts a run would start it again.
        *facts: Likewise.
        name: What errors call it.
    """
    if sys.platform == "linux":
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_HEAVY)
    else:
        context = multiprocessing.get_context("spawn")
    peak = context.RawValue(ctypes.c_uint64)
    process: BaseProcess = context.Process(target=_run, args=(peak, target, facts), name=name, daemon=True)
    with _interrupts_held(), _script_hidden():
        process.start()
    count_process(lambda: int(peak.value))
    return process


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Let what starts in here never see Ctrl-C: a terminal sends it to all processes, and this one ends the others."""
    resource_tracker.ensure_running()  # it would start with the first process, and release what is held
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _script_hidden() -> Iterator[None]:
    """Let what starts in here have no script to import before it begins, as multiprocessing has it otherwise."""
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


def _run(peak: Any, target: Callable[..., None], facts: tuple[Any, ...]) -> None:
    Thread(target=_end_with_parent, daemon=True).start()
    try:
        target(*facts)
    finally:
        peak.value = own_peak()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()  # its end of a pipe closes however it dies
    os._exit(1)
