"""The errors that users see: each says what is wrong, where, what was received and what to do.

The command line prints them without a traceback. Anything else that escapes is a bug and keeps its traceback.
"""

from __future__ import annotations

import difflib
import signal
import traceback
from collections.abc import Iterable


class SelfstudyError(Exception):
    """Base of all errors that come with a remedy."""


class ConfigError(SelfstudyError):
    """A setting is unknown, misspelt, out of range or clashes with another."""


class DataError(SelfstudyError):
    """A data file, or a row of one, cannot be used."""


class ModelError(SelfstudyError):
    """A model or tokenizer cannot be loaded, or cannot do what the run asks of it."""


class PluginError(SelfstudyError):
    """A plug-in is unknown, broken, or returned something outside its contract."""


class StorageError(SelfstudyError):
    """An artifact is damaged, incomplete, held by another process, or cannot be written."""


class TrainingError(SelfstudyError):
    """Training cannot go on: a non-finite loss, a group that does not fit, nothing to learn from."""


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest known word, else the list of what is known."""
    options = sorted(known)
    close = difflib.get_close_matches(word, options, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(options)}" if options else ""


def listed(names: Iterable[str], most: int = 10) -> str:
    """Return the names, each once, the first few of many: ``"a, b and 7 more"``."""
    unique = list(dict.fromkeys(names))
    return ", ".join(unique[:most]) + (f" and {len(unique) - most} more" if len(unique) > most else "")


def printable(text: str) -> str:
    """Return text that any terminal can show as it is: what is no character of a line is written as an escape."""
    return "".join(c if c.isprintable() or c in "\n\t" else c.encode("unicode_escape").decode() for c in text)


def portable(error: Exception) -> Exception:
    """Return the same error in a form that any process can unpickle; one that has no remedy, with its traceback."""
    for kind in type(error).__mro__:
        if issubclass(kind, SelfstudyError) and kind.__module__ == SelfstudyError.__module__:
            return kind(str(error))
    if isinstance(error, OSError):
        return OSError(str(error))
    return RuntimeError("in a worker:\n" + "".join(traceback.format_exception(error)))


def ending(status: int) -> str:
    """Say how a process ended, from its status: ``was killed by SIGSEGV``, ``ended with status 1``."""
    if status >= 0:
        return f"ended with status {status}"
    return f"was killed by {next((known.name for known in signal.Signals if known == -status), f'signal {-status}')}"
