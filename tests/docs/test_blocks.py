"""Every block of the README, the tutorial, the how-tos and the other pages to follow is carried out as it stands.

Commands run with overrides that make a run small, Python is executed, configs are written and validated, and what a
block is said to print is compared. What cannot be run here says so in a comment: ``<!-- not run: needs … -->``.
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

import selfstudy
from selfstudy import running
from selfstudy.config import load_tree
from selfstudy.recipes.config import Config
from selfstudy.report.results import Results
from tests.docs.pages import ROOT, Block, blocks
from tests.docs.small import run, shortened

DOCS = ROOT / "docs"
FOLLOWED = [
    ROOT / "README.md",
    *(DOCS / f"{name}.md" for name in ("index", "tutorial", "method", "python")),
    *sorted((DOCS / "howto").glob("*.md")),
    ROOT / "examples" / "own_problems" / "README.md",
]
_run = selfstudy.run
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]


class Reader:
    """Somebody who follows a page in the working directory, block after block."""

    def __init__(self) -> None:
        self.names: dict[str, Any] = {"__name__": "__page__"}
        self.printed = ""

    def follow(self, block: Block) -> None:
        """Do what a block says.

        Raises:
            AssertionError: It does not work, or nobody knows what kind of block it is.
        """
        with contextlib.redirect_stdout(io.StringIO()) as out:
            match block.language:
                case "sh":
                    for line in block.body.replace("\\\n", "").splitlines():
                        self.shell(line, carry_out=not (block.mark or "").startswith("not run: "))
                case "python":
                    self.python(block)
                case "yaml":
                    self.config(block)
                case "text" | "" | "bibtex":
                    if block.mark == "prints":
                        assert block.body in self.printed
                case _:
                    pytest.fail(f"a block of a kind that nobody follows: {block.language}")
        self.printed = out.getvalue()

    def python(self, block: Block) -> None:
        if block.file_name is not None:
            Path(block.file_name).write_text(block.body, "utf-8")
        else:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(running, "run", _run_shortened)
                exec(compile(block.body, "block", "exec"), self.names)

    def config(self, block: Block) -> None:
        assert block.file_name is not None, "a config begins with its file's name: # mine.yaml"
        Path(block.file_name).write_text(block.body, "utf-8")
        Config.parse(load_tree(block.file_name), block.file_name)

    def shell(self, line: str, *, carry_out: bool) -> None:
        words = shlex.split(line, comments=True)
        for command in _split(words, "&&"):
            program, arguments = Path(command[0]).name, command[1:]
            if program == "selfstudy":
                self.selfstudy(arguments, carry_out=carry_out)
            elif program == "pip" or arguments[:2] == ["-m", "pip"]:
                _check_install(arguments[arguments.index("install") + 1 :])
            elif not carry_out or command[0] == "." or arguments[:2] in (["-m", "venv"], ["-m", "pytest"]):
                continue  # an environment is there already, and the suite runs
            elif program == "cd":
                os.chdir(arguments[0])
            elif program in ("python", "python3"):
                subprocess.run([sys.executable, *arguments], check=True)
            else:
                pytest.fail(f"nobody knows how to follow: {line}")

    def selfstudy(self, arguments: list[str], *, carry_out: bool) -> None:
        if arguments[0] in ("run", "plan", "pretrain") and arguments[1:]:
            config, overrides = arguments[1], [word for word in arguments[2:] if "=" in word]
            arguments = [*arguments, *shortened(config, overrides)]
            if arguments[0] != "plan" and not overrides and "--name" not in arguments:
                arguments += ["--name", Path(config).stem]  # which it would have without what makes it small
        if carry_out:
            with contextlib.redirect_stderr(io.StringIO()) as errors:
                code = run(arguments)
            assert code == 0, f"selfstudy {shlex.join(arguments)}\n{errors.getvalue()}"


def _run_shortened(config: str, overrides: Sequence[str] = (), *, name: str | None = None, **options: Any) -> Results:
    name = name or (None if overrides else Path(config).stem)  # which it would have without what makes it small
    return _run(config, [*overrides, *shortened(config, overrides)], name=name, **options)


def _split(words: list[str], at: str) -> Iterator[list[str]]:
    while at in words:
        yield words[: words.index(at)]
        words = words[words.index(at) + 1 :]
    if words:
        yield words


def _check_install(arguments: list[str]) -> None:
    """Look whether what is installed is this package, with extras that it has."""
    (what,) = [argument for argument in arguments if not argument.startswith("-")]
    match = re.fullmatch(r"(?:\.|selfstudy)(?:\[([\w,]+)\])?", what)
    assert match is not None, what
    assert set(filter(None, (match[1] or "").split(","))) <= set(EXTRAS)


@pytest.mark.parametrize("page", FOLLOWED, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_followed(page: Path, workplace: Path) -> None:
    shutil.copytree(ROOT / "examples", "examples", ignore=shutil.ignore_patterns("selfstudy-runs", "__pycache__"))
    reader = Reader()
    for block in blocks(page):
        try:
            reader.follow(block)
        except Exception as error:
            raise AssertionError(f"{page.relative_to(ROOT)}, in the block\n{block.body}") from error


def test_every_fence_is_a_block_that_is_found() -> None:
    for page in FOLLOWED:
        fences = re.findall(r"^ *```", page.read_text("utf-8"), re.MULTILINE)
        assert len(fences) == 2 * len(blocks(page)), page


@pytest.mark.parametrize(
    ("language", "body"),
    [
        ("rust", "fn main() {}\n"),
        ("sh", "selfstudy trian quickstart\n"),
        ("sh", "selfstudy status no-such-run\n"),
        ("sh", "rm -r selfstudy-runs\n"),
        ("sh", "pip install 'selfstudy[no-such-extra]'\n"),
        ("python", "raise ValueError\n"),
        ("yaml", "# mine.yaml\nextends: quickstart\nronds: 2\n"),
        ("yaml", "extends: quickstart\n"),
    ],
)
def test_what_would_not_work_is_found(language: str, body: str, workplace: Path) -> None:
    with pytest.raises(BaseException) as raised:  # noqa: PT011
        Reader().follow(Block(None, language, body))
    assert not isinstance(raised.value, KeyboardInterrupt)


def test_other_output_than_is_said_is_found(workplace: Path) -> None:
    reader = Reader()
    reader.follow(Block(None, "python", "print('one')\n"))
    with pytest.raises(AssertionError):
        reader.follow(Block("prints", "text", "two\n"))
