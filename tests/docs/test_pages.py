"""Every page: links lead somewhere, commands exist with their options, and the map of the code is complete."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from selfstudy.config import packaged_configs
from selfstudy.recipes.config import Config
from tests.docs.pages import PAGES, ROOT, commands, links, parse

NAMES = [str(page.relative_to(ROOT)) for page in PAGES]
SOURCE = ROOT / "src" / "selfstudy"


@pytest.mark.parametrize("name", NAMES)
def test_links_lead_to_files(name: str) -> None:
    page = ROOT / name
    assert [target for target in links(page) if not (page.parent / target).exists()] == []


@pytest.mark.parametrize("name", NAMES)
def test_commands_and_options_exist(name: str) -> None:
    for arguments in commands(ROOT / name):
        parse(arguments)


def test_a_wrong_option_would_be_found() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["export", "quickstart", "pairs-1", "--output", "x"])
    with pytest.raises(AssertionError):
        parse(["trian", "quickstart"])


@pytest.mark.parametrize("name", NAMES)
def test_settings_named_in_running_text_exist(name: str) -> None:
    """``preference.loss.beta``, ``guard.every`` and the like are settings; a plug-in's own are not followed."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / name).read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    for path in re.findall(r"`((?:problems|sft|sampling|pairs|preference|labels|evaluation|compute)\.\w+)", text):
        section, setting = path.split(".")
        settings = Config.model_fields[section].annotation
        assert setting in settings.model_fields or setting in {"py", "jsonl"}, path  # type: ignore[union-attr]


def test_the_map_names_every_file_and_no_other() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    tree = page.split("src/selfstudy/\n")[1].split("```")[0]
    families = {match[1]: re.findall(r"\w+", match[2]) for match in re.finditer(r"(\w+)/ {2,}(.+)", tree)}
    folders: list[str] = []
    named = set()
    for line in tree.splitlines():
        indent, entry = re.match(r"( *)(\S+)", line).groups()  # type: ignore[union-attr]
        folders = folders[: len(indent) // 2 - 1]
        if entry.endswith(".py"):
            named.add("/".join([*folders, entry]))
        else:
            folders.append(entry.rstrip("/"))
            named |= {
                f"{'/'.join(folders)}/{plugin}.py" for plugin in families.get(folders[-1], ()) if "config" not in entry
            }
    there = {path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob("*.py") if path.name != "__init__.py"}
    assert named == there


def test_the_map_is_in_import_order() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"][0]
    rank = {name: n for n, layer in enumerate(contract["layers"]) for name in re.findall(r"selfstudy\.(\w+)", layer)}
    tree = (ROOT / "docs" / "architecture.md").read_text("utf-8").split("src/selfstudy/\n")[1].split("```")[0]
    listed = [match[1] for match in re.finditer(r"^  (\w+)(?:/|\.py)", tree, re.MULTILINE) if match[1] in rank]
    assert set(listed) == set(rank)
    assert [rank[name] for name in listed] == sorted(rank.values())


def test_every_decision_is_in_the_index_and_short() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = sorted(path.name for path in folder.glob("[0-9]*.md"))
    index = (folder / "README.md").read_text("utf-8")
    entries = re.findall(r"^(\d+)\. \[(.*)\]\((.*)\)$", index, re.MULTILINE)
    assert [target for _, _, target in entries] == pages
    for number, title, target in entries:
        text = (folder / target).read_text("utf-8")
        assert text.startswith(f"# {number}. {title}\n")
        assert len(text.splitlines()) <= 40
        for part in ("**Choice.**", "**Why.**", "**Considered.**", "**Consequences.**"):
            assert part in text


def test_the_readme_names_every_folder_and_the_page_of_settings_every_config() -> None:
    tree = (ROOT / "README.md").read_text("utf-8").split("src/selfstudy/\n")[1].split("```")[0]
    folders = {path.parent.name for path in SOURCE.glob("*/__init__.py")} - {"report"}
    assert {name for name in folders if f"  {name}/" not in tree} == set()
    page = (ROOT / "docs" / "configuration.md").read_text("utf-8")
    assert [name for name in packaged_configs() if f"| `{name}` |" not in page] == []


def test_nothing_is_said_of_files_that_are_not_there() -> None:
    """Paths such as ``learning/order.py`` in the pages exist (``NAME`` stands for one to be written)."""
    for page in PAGES:
        for name in re.findall(
            r"`((?:src/|tests/|docs/|[a-z]+/)[\w./-]+\.(?:py|yaml|md|csv))`", page.read_text("utf-8")
        ):
            places = (ROOT, SOURCE, page.parent)
            assert "NAME" in name or any((Path(place) / name).exists() for place in places), (page.name, name)
