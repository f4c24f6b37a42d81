"""Nothing is let in: no code in data, no path out of the run root; hostile text is read or refused, never a crash."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import selfstudy
from selfstudy.config import load_tree, parse_yaml
from selfstudy.errors import ConfigError, SelfstudyError, StorageError
from selfstudy.recipes.prepare import prepare

SOURCE = Path(__file__).parents[1] / "src" / "selfstudy"


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Yield every call in the package: file, what is called, how."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                yield path.relative_to(SOURCE).as_posix(), ast.unparse(node.func), node


def test_nothing_is_read_that_can_run_code() -> None:
    """Pickles between a process and those that it starts itself apart (learning/world.py)."""
    found = {
        (path, name)
        for path, name, call in calls()
        if name
        in {
            "eval",
            "exec",
            "compile",
            "torch.load",
            "joblib.load",
            "np.load",
            "numpy.load",
            "os.system",
            "marshal.loads",
        }
        or name.split(".")[0] in {"pickle", "dill", "cloudpickle", "shelve"}
        or name in {"yaml.load", "yaml.unsafe_load", "yaml.full_load"}
        or name.endswith((".get_single_data", ".get_data"))
        or any(word.arg == "shell" for word in call.keywords)
    }
    assert found == {
        ("plugins.py", "exec"),  # a user's own file, by its hash
        ("plugins.py", "compile"),
        ("config.py", "loader.get_single_data"),  # of a loader made from the safe one
        ("learning/world.py", "pickle.dumps"),
        ("learning/world.py", "pickle.loads"),
    }
    assert "class _Loader(yaml.SafeLoader):" in (SOURCE / "config.py").read_text("utf-8")


def test_code_of_a_model_is_never_trusted_and_weights_are_safetensors() -> None:
    loads = 0
    for path, name, call in calls():
        given = {word.arg: ast.unparse(word.value) for word in call.keywords}
        assert given.get("trust_remote_code", "False") == "False", path
        if name.endswith("from_pretrained"):
            loads += 1
            assert given["trust_remote_code"] == "False", path
            assert given["local_files_only"] == "True", path
            assert name != "auto.from_pretrained" or given["use_safetensors"] == "True"
    assert loads == 3
    assert "weights_only" not in "".join(path.read_text("utf-8") for path in SOURCE.rglob("*.py"))


# --- paths ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["../x", "/tmp/x", "a/b", "..", ".", "", ".hidden", "a\0b", "a\nb", "~/x", "-x", "..\\x"]
)
def test_a_runs_name_is_one_folder_below_the_root(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="cannot be a run's name"):
        selfstudy.run("quickstart", ["root=root"], name=name, quiet=True)
    assert not (tmp_path / "root" / "runs").exists()


def test_a_configs_name_is_one_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``solve exp:1`` would look for model 1 of run exp."""
    monkeypatch.chdir(tmp_path)
    Path("exp:1.yaml").write_text("extends: quickstart\nroot: root\n")
    with pytest.raises(ConfigError, match=r"'exp:1' cannot be a run's name: .*; give it another with --name"):
        selfstudy.run("exp:1.yaml", quiet=True)
    selfstudy.run("exp:1.yaml", quiet=True, name="exp-1", until="problems")


@pytest.mark.parametrize("name", ["mine", "seed=1,rounds=2", "two words", "2026-11-22", "a.b_c", "größe"])
def test_other_names_are_taken(name: str, tmp_path: Path) -> None:
    assert prepare("quickstart", [f"root={tmp_path}"], run_name=name).folder == tmp_path / "runs" / name


@pytest.mark.parametrize("link", ["events.jsonl", "config.yaml", ".plan.json.writing", ""])
def test_no_link_in_a_runs_folder_makes_a_run_write_elsewhere(
    link: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    target = tmp_path / "outside"
    if link:
        (tmp_path / "root" / "runs" / "mine").mkdir(parents=True)
        target.write_text("mine")
    else:
        (tmp_path / "root" / "runs").mkdir(parents=True)
        target.mkdir()
    (tmp_path / "root" / "runs" / "mine" / link).symlink_to(target)
    with pytest.raises(StorageError, match=r"is a link to .*outside, and what a run writes must stay below its root"):
        selfstudy.run("quickstart", ["root=root"], name="mine", quiet=True)
    assert target.read_text() == "mine" if link else not list(target.iterdir())


# --- configs ----------------------------------------------------------------------------------------------------------

YAML = st.text() | st.text("abc:- []{}&*!#|>%@'\"\n\t\0,0.e", max_size=80)


@given(YAML)
def test_any_text_is_yaml_or_is_refused(text: str) -> None:
    with suppress(ConfigError):
        parse_yaml(text, "here")


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "a: " * 10_000,
        "{a: " * 50_000,
        "!!python/object/apply:os.system ['touch pwned']",
        "!!python/name:os.system",
        "a: &a [*a]",
        "\ud800",
        "a: \u202e",
        "&a [" + "*a, " * 3 + "]",
    ],
)
def test_hostile_yaml_is_refused_or_harmless(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.yaml").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(SelfstudyError):
        prepare("mine.yaml")
    assert not Path("pwned").exists()


def test_a_bomb_of_aliases_takes_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nine levels of nine aliases each: 9⁹ items if anything copied them."""
    monkeypatch.chdir(tmp_path)
    levels = ['a0: &a0 ["x"]'] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    Path("bomb.yaml").write_text("\n".join(levels))
    code = "from selfstudy.config import load_tree\nload_tree('bomb.yaml')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert "ConfigError" in done.stderr


def test_a_config_that_is_not_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"model: \xff\xfe")
    with pytest.raises(ConfigError, match=r"mine\.yaml: not valid YAML|mine\.yaml: not UTF-8"):
        load_tree(str(path))


def test_errors_with_odd_characters_can_be_printed(tmp_path: Path) -> None:
    """A lone surrogate in a name must not turn an error with a remedy into a crash; what turns text is escaped."""
    (tmp_path / "t.jsonl").write_text(json.dumps({"question\ud800": "q", "\u202eanswer": "1"}) + "\n")
    command = [sys.executable, "-m", "selfstudy.cli", "plan", "quickstart"]
    change = "problems.train={name: tabular, path: t.jsonl}"
    done = subprocess.run([*command, change, "problems.dev=1"], cwd=tmp_path, capture_output=True, check=False)
    said = done.stderr.decode()
    assert done.returncode == 2, said
    assert "Traceback" not in said
    assert re.search(r"t\.jsonl:1: (question|answer): no such field", said)
    assert "\u202e" not in said
