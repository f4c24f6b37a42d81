"""Settings: YAML as people expect it, overrides that keep siblings, errors that help."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import Field, field_validator

from selfstudy.config import Place, Settings, dump_yaml, load_tree, merge, packaged_configs, parse_yaml, read_dotenv
from selfstudy.errors import ConfigError


class Inner(Settings):
    beta: Annotated[float, Field(gt=0)] = 0.1
    learning_rate: float = 1e-6


class Outer(Settings):
    rounds: int
    preference: Inner = Inner()
    maybe: Inner | None = None
    path: Place = "runs"

    @field_validator("rounds")
    @classmethod
    def _positive(cls, rounds: int) -> int:
        if rounds < 1:
            raise ValueError("must be at least 1; leave the run out for none")
        return rounds


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)


@given(st.lists(SCALARS | st.text() | st.from_regex(r"\A[-+]?[0-9_.:eExo]{1,8}\Z")))
@example(["08", "1e5", "7e3", "0o17", "1_000", "12:30", "no", "on", "y", "~", "null", "2024-01-01", "=", "<<", ".inf"])
def test_what_is_written_is_read_as_the_same(values: list[Any]) -> None:
    """A data set that is called 08 stays a text."""
    assert parse_yaml(dump_yaml({"a": values}), "here") == {"a": values}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, name: str, text: str) -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-7", 3e-7),
        ("3E7", 3e7),
        ("-1e+3", -1000.0),
        ("3.0e-7", 3e-7),
        ("1.", 1.0),
        (".5", 0.5),
        ("-.5", -0.5),
        ("1_000.5", 1000.5),
        (".inf", math.inf),
        ("3", 3),
        ("-3", -3),
        ("1_000", 1000),
        ("010", 10),  # YAML 1.1: octal 8
        ("true", True),
        ("False", False),
        ("null", None),
        ("~", None),
        ("off", "off"),  # YAML 1.1: False, so that `guard: off` would be no word
        ("yes", "yes"),
        ("y", "y"),
        ("1:30", "1:30"),  # YAML 1.1: 90
        ("2024-01-01", "2024-01-01"),  # YAML 1.1: a date
        ("e5", "e5"),
        ("1e", "1e"),
        ("-", [None]),
        ("1.2.3", "1.2.3"),
        ('"3e-7"', "3e-7"),
        ("[1, 2e1]", [1, 20.0]),
        ("{a: 1e-4}", {"a": 1e-4}),
    ],
)
def test_yaml_scalars(text: str, value: Any) -> None:
    parsed = parse_yaml(text, "here")
    assert parsed == value
    assert type(parsed) is type(value)


@given(st.floats(allow_nan=False, allow_infinity=False) | st.integers(-(10**18), 10**18))
def test_pythons_numbers_are_numbers(number: float) -> None:
    parsed = parse_yaml(f"{number!r}", "here")
    assert parsed == number
    assert type(parsed) is type(number)


def test_yaml_errors_say_where() -> None:
    with pytest.raises(ConfigError, match=r'a.yaml: not valid YAML: [\s\S]*in "a.yaml", line 2') as caught:
        parse_yaml("a: 1\nb: [", "a.yaml")
    assert "unicode string" not in str(caught.value)
    with pytest.raises(ConfigError, match=r"a.yaml: not valid YAML: 'beta' is set twice\n.*line 3, column 3"):
        parse_yaml("preference:\n  beta: 1\n  beta: 2", "a.yaml")


def test_merge_keys_are_no_duplicates() -> None:
    text = "base: &b {x: 1, y: 2}\none:\n  <<: *b\n  x: 3"
    assert parse_yaml(text, "here")["one"] == {"x": 3, "y": 2}


def test_overrides_keep_siblings(folder: Path) -> None:
    name = write(folder, "a.yaml", "rounds: 1\npreference: {beta: 0.5, learning_rate: 1e-5}\n")
    tree = load_tree(name, ["preference.learning_rate=3e-7", "rounds=2"])
    assert tree == {"rounds": 2, "preference": {"beta": 0.5, "learning_rate": 3e-7}}


def test_overrides_of_what_is_not_there_yet(folder: Path) -> None:
    name = write(folder, "a.yaml", "rounds: 1\n")
    assert load_tree(name, ["a.b.c=[1, 2]", "a.b.d=x=y", "e="]) == {
        "rounds": 1,
        "a": {"b": {"c": [1, 2], "d": "x=y"}},
        "e": None,
    }


@pytest.mark.parametrize("override", ["rounds", "=2", ""])
def test_overrides_need_a_sign(folder: Path, override: str) -> None:
    name = write(folder, "a.yaml", "rounds: 1\n")
    with pytest.raises(ConfigError, match=f"override '{override}' is not of the form setting=value"):
        load_tree(name, [override])


def test_overrides_with_bad_yaml_name_the_setting(folder: Path) -> None:
    name = write(folder, "a.yaml", "rounds: 1\n")
    with pytest.raises(ConfigError, match="override ks: not valid YAML"):
        load_tree(name, ["ks=[1"])


def test_merge_of_plugins() -> None:
    base = {"v": {"name": "numeric", "tolerance": 1}, "w": "numeric", "x": {"count": 1}}
    assert merge(base, {"v": {"tolerance": 2}})["v"] == {"name": "numeric", "tolerance": 2}
    assert merge(base, {"v": {"name": "numeric", "finder": "####"}})["v"] == {
        "name": "numeric",
        "tolerance": 1,
        "finder": "####",
    }
    # Another plug-in: the old one's settings mean nothing to it.
    assert merge(base, {"v": {"name": "exact"}})["v"] == {"name": "exact"}
    assert merge(base, {"v": "exact"})["v"] == "exact"
    # A name alone is a plug-in without settings of its own.
    assert merge(base, {"w": {"tolerance": 2}})["w"] == {"name": "numeric", "tolerance": 2}
    assert merge(base, {"w": {"name": "exact", "ignore_case": False}})["w"] == {"name": "exact", "ignore_case": False}
    # A mapping that had no name keeps its settings.
    assert merge(base, {"x": {"name": "word_problems"}})["x"] == {"name": "word_problems", "count": 1}


trees = st.recursive(
    st.integers(0, 3),
    lambda inner: st.dictionaries(st.sampled_from("abc"), inner, min_size=1, max_size=3),
    max_leaves=6,
).filter(lambda tree: isinstance(tree, dict))


def _leaves(tree: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if not isinstance(tree, dict):
        return {path: tree}
    return {key: value for name, item in tree.items() for key, value in _leaves(item, (*path, name)).items()}


@given(trees, trees)
def test_merge_changes_what_is_named_and_nothing_else(base: Any, change: Any) -> None:
    before, changed, merged = _leaves(base), _leaves(change), _leaves(merge(base, change))
    assert changed.items() <= merged.items()
    for path, value in before.items():
        touched = any(path[: len(other)] == other or other[: len(path)] == path for other in changed)
        assert touched or merged.get(path) == value
    assert set(merged) <= set(before) | set(changed)


def test_extends(folder: Path) -> None:
    write(folder, "base.yaml", "rounds: 1\nsft: {epochs: 3, lr: 1e-3}\n")
    write(folder, "sub/middle.yaml", "extends: ../base.yaml\nsft: {epochs: 4}\n")
    name = write(folder, "top.yaml", "extends: sub/middle.yaml\nrounds: 2\n")
    assert load_tree(name) == {"rounds": 2, "sft": {"epochs": 4, "lr": 1e-3}}
    assert load_tree("top.yaml") == load_tree(name)  # relative to the file, not to the working directory


def test_extends_a_packaged_config(folder: Path) -> None:
    assert packaged_configs()
    for packaged in packaged_configs():
        name = write(folder, "mine.yaml", f"extends: {packaged}\nrounds: 7\n")
        assert load_tree(name) == merge(load_tree(packaged), {"rounds": 7})


@pytest.mark.parametrize("first", ["a.yaml", "./a.yaml"])
def test_extends_in_a_circle(folder: Path, first: str) -> None:
    write(folder, "a.yaml", "extends: b.yaml\n")
    write(folder, "b.yaml", "extends: a.yaml\n")
    write(folder, "self.yaml", "extends: self.yaml\n")
    with pytest.raises(ConfigError, match=r"extends itself \(.*a.yaml → .*b.yaml → .*a.yaml.*\)"):
        load_tree(first)
    with pytest.raises(ConfigError, match="extends itself"):
        load_tree("self.yaml")


def test_unknown_configs(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no config named 'quikstart'; did you mean 'quickstart'"):
        load_tree("quikstart")
    with pytest.raises(ConfigError, match=r"none.yaml: no such config file \(looked in .*\)"):
        load_tree("none.yaml")
    name = write(folder, "list.yaml", "[1, 2]")
    with pytest.raises(ConfigError, match=r"list.yaml: a config is a mapping of settings, not a list"):
        load_tree(name)
    name = write(folder, "child.yaml", "extends: quikstart\n")
    with pytest.raises(ConfigError, match=r"did you mean 'quickstart'\?; .*child.yaml extends it"):
        load_tree(name)
    name = write(folder, "child.yaml", "extends: none.yaml\n")
    with pytest.raises(ConfigError, match=r"none.yaml: no such config file .*; .*child.yaml extends it"):
        load_tree(name)
    (folder / "latin.yaml").write_bytes(b"root: \xe9\n")
    with pytest.raises(ConfigError, match=r"latin.yaml: not UTF-8 text .*; save it as UTF-8"):
        load_tree(str(folder / "latin.yaml"))
    assert load_tree(write(folder, "empty.yaml", "")) == {}


def test_variables(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = write(
        folder, "a.yaml", "path: ${SELFSTUDY_TEST_ROOT}/${SELFSTUDY_TEST_NAME}\nlist: ['${SELFSTUDY_TEST_NAME}']\n"
    )
    monkeypatch.setenv("SELFSTUDY_TEST_NAME", "env")
    monkeypatch.delenv("SELFSTUDY_TEST_ROOT", raising=False)
    with pytest.raises(ConfigError, match=r"a.yaml: path: \$\{SELFSTUDY_TEST_ROOT\} is set neither in .*; export it"):
        load_tree(name)
    with pytest.raises(ConfigError, match=r"a.yaml: sft.lr: \$\{SELFSTUDY_TEST_RATE\} is set neither"):
        load_tree(name, ["path=", "sft.lr=${SELFSTUDY_TEST_RATE}"])
    write(folder, ".env", "SELFSTUDY_TEST_ROOT=/from/file\nSELFSTUDY_TEST_NAME=file\n")
    assert load_tree(name) == {"path": "/from/file/env", "list": ["env"]}  # the environment wins
    monkeypatch.setenv("SELFSTUDY_TEST_ROOT", "")  # set, though empty
    assert load_tree(name, ["extra=${SELFSTUDY_TEST_NAME}"]) == {"path": "/env", "list": ["env"], "extra": "env"}


def test_dotenv(folder: Path) -> None:
    lines = [
        "# A comment=1",
        "PLAIN=a b",
        "export EXPORTED = x ",
        "SINGLE='a # b'",
        'DOUBLE="a"  # why',
        "COMMENTED=a # why",
        "HASH=a#b",
        'QUOTES=say "hi"',
        "EMPTY=",
        "EQUALS=a=b",
        "not a line",
    ]
    write(folder, ".env", "\n".join(lines))
    assert read_dotenv(folder / ".env") == {
        "PLAIN": "a b",
        "EXPORTED": "x",
        "SINGLE": "a # b",
        "DOUBLE": "a",
        "COMMENTED": "a",
        "HASH": "a#b",
        "QUOTES": 'say "hi"',
        "EMPTY": "",
        "EQUALS": "a=b",
    }
    assert read_dotenv(folder / "none") == {}


@pytest.mark.parametrize(
    ("tree", "message"),
    [
        ({"rounds": 1, "preference": {"bta": 1}}, "a.yaml: preference.bta is not a setting; did you mean 'beta'?"),
        ({"rounds": 1, "maybe": {"bta": 1}}, "a.yaml: maybe.bta is not a setting; did you mean 'beta'?"),
        ({"rounds": 1, "xyz": 1}, "a.yaml: xyz is not a setting; known: maybe, path, preference, rounds"),
        ({}, "a.yaml: rounds is required; add 'rounds: …' to it"),
        ({"rounds": 0}, "a.yaml: rounds: must be at least 1; leave the run out for none (received 0)"),
        (
            {"rounds": 1, "preference": {"beta": 0}},
            "a.yaml: preference.beta: Input should be greater than 0 (received 0)",
        ),
    ],
)
def test_errors(tree: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.parse(tree, "a.yaml")
    assert str(caught.value) == message


def test_every_error_is_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        Outer.parse({"rounds": "two", "preference": {"beta": -1, "bta": 1}}, "a.yaml")
    assert len(str(caught.value).splitlines()) == 3


def test_settings_are_frozen_and_finite() -> None:
    settings = Outer(rounds=1)
    with pytest.raises(ValueError, match="frozen"):
        settings.rounds = 2  # type: ignore[misc]
    with pytest.raises(ConfigError, match="finite"):
        Outer.parse({"rounds": 1, "preference": {"beta": math.nan}}, "a.yaml")


def test_identity_leaves_places_out() -> None:
    here, there = Outer(rounds=1, path="here"), Outer(rounds=1, path="there")
    assert here.identity() == there.identity()
    assert here.model_dump()["path"] == "here"
    assert Outer(rounds=2).identity() != Outer(rounds=1).identity()
