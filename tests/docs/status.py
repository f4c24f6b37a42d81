"""Check ``docs/status.md``: what stands behind each requirement exists, and the quick commands pass.

    python -m tests.docs.status

A row says in its last column, as code, what shows it: tests (a path, or ``path::name``), a command, or a page. Tests
must be defined, options of benchmarks must stand in their scripts, commands of ``selfstudy`` must parse, paths must
exist. A command of ``selfstudy`` followed by ``(quick)`` is run as it stands. Nothing heavy is imported for the rest,
so that it takes seconds; the tests that are named run in the suite.
"""

from __future__ import annotations

import ast
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections import Counter
from typing import NamedTuple

from tests.docs.pages import ROOT, parse

PAGE = ROOT / "docs" / "status.md"
STATES = ("met", "partly", "not")


class Row(NamedTuple):
    """A requirement, whether it is met, and what shows it or why not."""

    requirement: str
    state: str
    shown: str

    @property
    def commands(self) -> list[tuple[str, bool]]:
        """What stands as code in the last column, each with whether it is quick."""
        return [(code, bool(quick)) for code, quick in re.findall(r"`([^`]+)`( \(quick\))?", self.shown)]


def rows(text: str) -> list[Row]:
    """Return the rows of all tables of a page, headings apart."""
    lines = [line.strip("| ") for line in text.splitlines() if line.startswith("|") and set(line) - set("|-: ")]
    cells = [re.split(r"\s+\|\s+", line, maxsplit=2) for line in lines]
    return [Row(*(*found, "", "")[:3]) for found in cells if found[0] != "requirement"]


def faults(text: str) -> list[str]:
    """Return what is wrong with the rows of a page, in words; runs nothing."""
    return [f"{row.requirement}: {fault}" for row in rows(text) for fault in _of_row(row)]


def _of_row(row: Row) -> list[str]:
    found = [fault for command, _ in row.commands if (fault := _of_command(command))]
    if row.state not in STATES:
        found.append(f"'{row.state}' is none of {', '.join(STATES)}")
    if row.state == "met" and not row.commands:
        found.append("nothing shows that it is met")
    if row.state != "met" and not re.search(r"\w{3}", re.sub(r"`[^`]+`", "", row.shown)):
        found.append("no reason why it is not met")
    return found


def _of_command(command: str) -> str | None:
    """Return what is wrong with a command, or None."""
    words = shlex.split(command)
    if words[0] == "selfstudy":
        return _of_selfstudy(words[1:])
    if words[0] == "python":
        return _of_script(words[1], [word for word in words[2:] if word.startswith("--")])
    path, *names = words[0].split("::")
    if len(words) > 1 or not (ROOT / path).exists():
        return f"there is no {command}"
    if names and names not in _tests(ast.parse((ROOT / path).read_text("utf-8"))):
        return f"there is no test {command}"
    return None


def _of_selfstudy(arguments: list[str]) -> str | None:
    try:
        parse(arguments)
    except Exception as error:  # typer may bring a click of its own, whose errors have no public name
        return f"selfstudy {shlex.join(arguments)}: {error}"
    return None


def _of_script(script: str, options: list[str]) -> str | None:
    path = ROOT / script
    if not path.is_file():
        return f"there is no {script}"
    known = {node.value for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Constant)}
    lacking = [option for option in options if option.partition("=")[0] not in known]
    return f"{script} has no {', '.join(lacking)}" if lacking else None


def _tests(tree: ast.Module | ast.ClassDef) -> list[list[str]]:
    """Return the names of the tests of a file, those in classes behind the name of theirs."""
    found = [[node.name] for node in tree.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    for node in tree.body:
        if isinstance(node, ast.ClassDef):
            found += [[node.name], *([node.name, *names] for names in _tests(node))]
    return found


def failures(text: str) -> list[str]:
    """Run the quick commands of a page in an empty folder; return those that fail, with the end of what they said."""
    found = []
    environment = os.environ | {"HF_HUB_OFFLINE": "1"}
    for command in dict.fromkeys(command for row in rows(text) for command, quick in row.commands if quick):
        program = [sys.executable, "-m", "selfstudy.cli", *shlex.split(command)[1:]]
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(program, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if done.returncode:
            found.append(f"{command}: exit code {done.returncode}: {done.stderr[-300:]}")
    return found


def main() -> int:
    """Print what is wrong and how many rows there are; return the exit code."""
    text = PAGE.read_text("utf-8")
    wrong = [*faults(text), *failures(text)]
    counts = Counter(row.state for row in rows(text))
    print("\n".join([*wrong, ", ".join(f"{counts[state]} {state}" for state in STATES)]))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
