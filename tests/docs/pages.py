"""What is in a Markdown page: code blocks, commands, links."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import typer
from typer.core import TyperGroup

from selfstudy.cli import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path
    for folder in (ROOT.glob("*.md"), (ROOT / "docs").rglob("*.md"), (ROOT / "examples").glob("*/*.md"))
    for path in folder
)

_FENCED = re.compile(
    r"(?:<!-- (?P<mark>[^>]*) -->\n)?^```(?P<language>\w*)\n(?P<body>.*?)^```$", re.DOTALL | re.MULTILINE
)


class Block(NamedTuple):
    """A fenced block; ``mark`` is the comment on the line before it, if there is one."""

    mark: str | None
    language: str
    body: str

    @property
    def file_name(self) -> str | None:
        """The name that its first line gives, ``# mine.yaml: …``, if it gives one."""
        match = re.match(r"# ([\w./]+\.\w+)(?::|$)", self.body, re.MULTILINE)
        return Path(match[1]).name if match else None


def blocks(page: Path, language: str | None = None) -> list[Block]:
    """Return the fenced blocks of a page, or those of one language."""
    found = [Block(*match.group("mark", "language", "body")) for match in _FENCED.finditer(page.read_text("utf-8"))]
    return [block for block in found if language is None or block.language == language]


def block_of(page: Path, file_name: str) -> Block:
    """Return the block that is to be the file of that name."""
    (found,) = [
        block
        for block in blocks(page)
        if re.match(rf"# (?:[\w/]+/)?{re.escape(file_name)}(?:$|[: ])", block.body, re.M)
    ]
    return found


def commands(page: Path) -> list[list[str]]:
    """Return every ``selfstudy …`` command of a page as its arguments: in shell blocks, and as code in running text."""
    text = page.read_text("utf-8")
    lines = [line for match in _FENCED.finditer(text) for line in _shell_lines(match["body"].replace("\\\n", ""))]
    inline = re.findall(r"`(selfstudy [^`]+)`", _FENCED.sub("", text))
    return [shlex.split(" ".join(line.split()))[1:] for line in (*lines, *inline)]


def parse(arguments: list[str]) -> None:
    """Parse a command as the command line would, without carrying it out."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    if arguments == ["--version"]:
        return
    assert arguments[0] in group.commands, arguments
    if arguments[1:]:  # running text may name a verb alone
        group.commands[arguments[0]].make_context(arguments[0], arguments[1:])


def _shell_lines(body: str) -> list[str]:
    # A line of a shell block, what someone typed after "$ ", or "# file: selfstudy run file" at the top of a config.
    found = re.findall(r"(?:^|&& |^\$ |^# \S+: )(?:\.venv/bin/)?(selfstudy [a-z]+(?: [^\n&]*)?)", body, re.MULTILINE)
    return [line.partition("  #")[0] for line in found]


def links(page: Path) -> list[str]:
    """Return the targets of links to files of the repository."""
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", _FENCED.sub("", page.read_text("utf-8")))
    return [target for target in targets if not re.match(r"\w+://", target)]
