"""Plug-ins: names, a user's own file, and what is refused."""

from __future__ import annotations

import os
import pickle
from pathlib import Path
from typing import Annotated

import pytest
from pydantic import BeforeValidator

from selfstudy.config import Settings
from selfstudy.errors import ConfigError, PluginError
from selfstudy.judging.verifiers import FAMILY, VerifierSpec, load_verifier
from selfstudy.plugins import PluginSpec, available, parse_spec
from selfstudy.types import Problem

PROBLEM = Problem("mine/1", "?", "7")
GOOD = '''
from __future__ import annotations
from typing import Literal
from selfstudy.judging.verifiers import Judgement, Verifier
from selfstudy.types import Problem

LIMIT = 3

class Lenient(Verifier):
    """Right when the answer stands anywhere."""

    outcome: Literal["right", "wrong"] = "right"

    def verify(self, problem: Problem, text: str) -> Judgement:
        return _judge(problem, text, self.outcome)

def _judge(problem, text, outcome):
    return Judgement(outcome, problem.answer, "there") if problem.answer in text else Judgement("unparsed", None, "no")
'''


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)

    def write(source: str, name: str = "my_check.py") -> str:
        (tmp_path / name).write_text(source, encoding="utf-8")
        return f"./{name}"

    return write


def load(value: object):
    return load_verifier(parse_spec(FAMILY, value))


def test_available_lists_the_folder() -> None:
    assert available(FAMILY) == ["choice", "exact", "math_verify", "numeric"]


def test_own_file(write) -> None:
    path = write(GOOD)
    assert load(path).verify(PROBLEM, "maybe 7").outcome == "right"
    assert load({"name": path, "outcome": "wrong"}).verify(PROBLEM, "maybe 7").outcome == "wrong"
    assert load(path).verify(PROBLEM, "").outcome == "unparsed"


def test_own_file_enters_identity_by_content_not_by_place(write, tmp_path: Path) -> None:
    spec = parse_spec(FAMILY, {"name": write(GOOD), "outcome": "wrong"})
    (tmp_path / "elsewhere").mkdir()
    moved = parse_spec(FAMILY, {"name": write(GOOD, "elsewhere/my_check.py"), "outcome": "wrong"})
    assert spec.identity() == moved.identity()
    assert set(spec.identity()) == {"name", "sha256", "outcome"}
    assert parse_spec(FAMILY, write(GOOD + "#")).identity()["sha256"] != spec.identity()["sha256"]


def test_parse_never_imports(write) -> None:
    """Plan, status and report of a run read specs; only a stage that judges runs the file."""
    spec = parse_spec(FAMILY, write("raise SystemExit('imported')"))
    assert spec.sha256 is not None
    # The saved config holds the place and the settings, so that it can be read again.
    assert parse_spec(FAMILY, spec.model_dump(mode="json")) == spec


def test_an_edited_file_is_run_anew(write, tmp_path: Path) -> None:
    """Same size, same time: Python's import would take its cached bytecode."""
    path = write(GOOD)
    assert load(path).verify(PROBLEM, "7").outcome == "right"
    before = (tmp_path / "my_check.py").stat()
    write(GOOD.replace('"right"\n', '"wrong"\n'))
    os.utime(tmp_path / "my_check.py", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert load(path).verify(PROBLEM, "7").outcome == "wrong"
    assert not (tmp_path / "__pycache__").exists()


def test_loaded_twice_is_one_class(write) -> None:
    path = write(GOOD)
    assert type(load(path)) is type(load(path))
    assert pickle.loads(pickle.dumps(load(path))) == load(path)


def test_a_changed_file_is_refused(write) -> None:
    spec = parse_spec(FAMILY, write(GOOD))
    write(GOOD + "# other")
    with pytest.raises(PluginError, match=r"my_check.py changed since this run was planned; start the command again"):
        load_verifier(spec)


def test_a_missing_file_is_refused(write, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no plug-in file \./none.py \(looked in .*\)"):
        parse_spec(FAMILY, "./none.py")
    spec = parse_spec(FAMILY, write(GOOD))
    (tmp_path / "my_check.py").unlink()
    with pytest.raises(PluginError, match="is gone; put it back"):
        load_verifier(spec)


@pytest.mark.parametrize(
    ("verifier", "message"),
    [
        ("numrc", r"unknown name 'numrc'; did you mean 'numeric'\?"),
        ("./none.py", r"no plug-in file \./none.py"),
        ({"name": "numeric", "tolerence": 1}, "numeric: tolerence is not a setting; did you mean 'tolerance'"),
    ],
)
def test_a_verifier_that_there_is_not_is_a_mistake_in_what_was_asked(verifier: object, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_verifier(verifier)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            GOOD + "\nclass Second(Lenient):\n    pass\n",
            r"needs exactly one public class, derived from selfstudy.judging.verifiers.Verifier; found Lenient, Second"
            r"; begin the names of the others with _",
        ),
        ("", r"needs exactly one public class, derived from selfstudy.judging.verifiers.Verifier; found none"),
        ("class Plain:\n    pass\n", r"class Plain must derive from selfstudy.judging.verifiers.Verifier"),
        (
            "from selfstudy.config import Settings\nclass Other(Settings):\n    pass\n",
            r"class Other must derive from selfstudy.judging.verifiers.Verifier",
        ),
        (
            "from selfstudy.judging.verifiers import Verifier\nclass Empty(Verifier):\n    pass\n",
            r"class Empty lacks the method verify",
        ),
    ],
)
def test_a_broken_file_is_refused(write, source: str, message: str) -> None:
    with pytest.raises(PluginError, match=f"my_check.py: {message}"):
        load(write(source))


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("import nothing_of_that_name", r", line 1: cannot be imported: ModuleNotFoundError: .*nothing_of_that_name"),
        ("import json\n\njson.loads('{')", r", line 3: cannot be imported: JSONDecodeError"),
        ("class Broken(:", r": cannot be imported: SyntaxError: .*line 1"),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_with_the_line(write, source: str, message: str) -> None:
    with pytest.raises(PluginError, match=f"my_check.py{message}"):
        load(write(source))


def test_private_and_imported_classes_do_not_count(write) -> None:
    assert load(write(GOOD + "\nclass _Helper:\n    pass\n")).verify(PROBLEM, "7").outcome == "right"


def test_settings_of_an_own_file_are_checked_when_it_is_loaded(write) -> None:
    with pytest.raises(ConfigError, match=r"my_check.py: outcom is not a setting; did you mean 'outcome'\?"):
        load({"name": write(GOOD), "outcom": "wrong"})


class Root(Settings):
    verifier: VerifierSpec = PluginSpec(name="numeric")


def test_errors_say_where_in_the_config() -> None:
    with pytest.raises(ConfigError, match=r"a.yaml: verifier: unknown name 'numric'; did you mean 'numeric'\?"):
        Root.parse({"verifier": "numric"}, "a.yaml")
    with pytest.raises(ConfigError, match=r"a.yaml: verifier: numeric: tolerence is not a setting; did you mean 'tol"):
        Root.parse({"verifier": {"name": "numeric", "tolerence": 1}}, "a.yaml")


def test_defaults_are_written_out() -> None:
    spec = Root.parse({"verifier": "numeric"}, "a.yaml").verifier
    assert spec.model_dump() == {"name": "numeric", "tolerance": 1e-4, "finder": {"pattern": "####"}}
    assert Root.parse({"verifier": spec.model_dump()}, "a.yaml").verifier == spec


def test_another_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing but the folder says what exists; a name of two words is a class of two."""
    package = tmp_path / "flavours_for_test"
    package.mkdir()
    (package / "__init__.py").write_text("")
    (package / "_hidden.py").write_text("")
    (package / "very_sweet.py").write_text(
        "from selfstudy.config import Settings\nclass VerySweet(Settings):\n    n: int = 1\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert available("flavours_for_test") == ["very_sweet"]

    class Menu(Settings):
        flavour: Annotated[PluginSpec, BeforeValidator(lambda value: parse_spec("flavours_for_test", value))]

    assert Menu.parse({"flavour": "very_sweet"}, "menu").flavour.settings == {"n": 1}
    assert Menu.parse({"flavour": {"name": "very_sweet", "n": 2}}, "menu").identity() == {
        "flavour": {"name": "very_sweet", "n": 2}
    }
