"""The site is built without a warning, and every page of docs/ is in it."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from tests.docs.pages import ROOT


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it as ``mkdocs build --strict`` does, which stops at a warning."""
    folder = tmp_path_factory.mktemp("site")
    warnings: list[str] = []
    handler = logging.Handler(logging.WARNING)
    handler.emit = lambda record: warnings.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("mkdocs").addHandler(handler)
    try:
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder), strict=True))
    finally:
        logging.getLogger("mkdocs").removeHandler(handler)
    assert warnings == []
    return folder


def test_every_page_is_built(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs").with_suffix("") for path in (ROOT / "docs").rglob("*.md")]
    places = [site / page.parent / ("" if page.name in ("index", "README") else page.name) for page in pages]
    assert [place for place in places if not (place / "index.html").is_file()] == []
    assert (site / "contributing" / "index.html").is_file()
    assert list(site.rglob("*.py")) == []


def test_a_page_asks_nobody_else_for_anything(site: Path) -> None:
    for page in ("index.html", "tutorial/index.html", "python/index.html"):
        text = (site / page).read_text("utf-8")
        assert 'src="http' not in text
        assert 'rel="stylesheet" href="http' not in text


def test_the_loop_is_drawn_in_the_page(site: Path) -> None:
    drawing = (ROOT / "docs" / "images" / "loop.svg").read_text("utf-8").strip()
    for page in ("index.html", "method/index.html"):
        assert f"<div>\n{drawing}\n</div>" in (site / page).read_text("utf-8")  # as it is: Markdown left it alone


def test_what_the_functions_say_is_there(site: Path) -> None:
    text = (site / "python" / "index.html").read_text("utf-8")
    assert "A packaged config, or the path of a YAML file." in text
