"""What the site needs beyond Markdown: pages of the repository's root, and the picture of the loop drawn in the page.

Pages are written to be read in the repository, too, so links lead to files there. On the site, a link to a page that
has joined it leads to that page, and one to any other file of the repository becomes plain text.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

DOCS = Path(__file__).parent
ROOT = DOCS.parent

# Pages that lie elsewhere in the repository, and what they are on the site.
JOINED = {
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "examples/own_problems/README.md": "howto/example.md",
}
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:)([^)#\s]+)(#[^)\s]*)?\)")
_DRAWING = re.compile(r"!\[[^\]]*\]\(([^)]+\.svg)\)")
_CODE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put every decision behind their index in the navigation."""
    pages = sorted(path.relative_to(DOCS).as_posix() for path in DOCS.glob("decisions/[0-9]*.md"))
    _section(config.nav, "decisions/README.md").extend(pages)
    return config


def _section(entries: object, first: str) -> list[object]:
    """Return the list of the navigation that begins with a page."""
    if isinstance(entries, list) and entries[0] == first:
        return entries
    inner = entries if isinstance(entries, list) else entries.values() if isinstance(entries, dict) else ()
    return next((found for entry in inner if (found := _section(entry, first))), [])


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Let pages of the repository's root join the site."""
    for source, target in JOINED.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Turn links to files of the repository into links to pages of the site; put drawings into the page."""
    place = page.file.src_uri
    source = next((ROOT / path for path, target in JOINED.items() if target == place), DOCS / place)

    def link(match: re.Match[str]) -> str:
        text, target, anchor = match[1], match[2], match[3] or ""
        path = os.path.normpath(source.parent / target)
        found = page_of(Path(path))
        return text if found is None else f"[{text}]({os.path.relpath(found, Path(place).parent)}{anchor})"

    def drawing(match: re.Match[str]) -> str:
        # Inside the page it takes the page's colours, whichever the reader has chosen; Markdown leaves a div alone.
        return f"<div>\n{(source.parent / match[1]).read_text(encoding='utf-8').strip()}\n</div>"

    parts = _CODE.split(markdown)  # every other one is a block of code
    parts[::2] = [_DRAWING.sub(drawing, _LINK.sub(link, part)) for part in parts[::2]]
    return "".join(parts)


def page_of(path: Path) -> str | None:
    """Return where a file of the repository is on the site, if it is."""
    if path.is_dir():
        path /= "README.md"
    joined = JOINED.get(path.relative_to(ROOT).as_posix()) if path.is_relative_to(ROOT) else None
    if joined is not None:
        return joined
    return path.relative_to(DOCS).as_posix() if path.is_relative_to(DOCS) and path.is_file() else None
