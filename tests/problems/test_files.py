"""Names resolve to a path, to SELFSTUDY_DATA, or to the Hub; each failure says what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import NoReturn

import pytest
from huggingface_hub import errors

from selfstudy.errors import ConfigError, DataError
from selfstudy.problems import files
from selfstudy.problems.files import Hub, locate

HUB = Hub("someone/things", ("*train*", "*test*"))


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("SELFSTUDY_DATA", raising=False)
    monkeypatch.chdir(tmp_path)


def fail_with(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, local_files_only: bool = False, **__: object) -> NoReturn:
        raise errors.LocalEntryNotFoundError("no cache") if local_files_only else error

    monkeypatch.setattr(files, "snapshot_download", refuse)


def test_a_path_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "things").mkdir()
    for place in (tmp_path, tmp_path / "things"):
        (place / "a.json").write_text("[]")
    monkeypatch.setenv("SELFSTUDY_DATA", str(tmp_path))
    assert locate("things", ("a.json",), None, HUB) == (tmp_path / "things" / "a.json",)
    assert locate("things", ("a.json",), str(tmp_path), HUB) == (tmp_path / "a.json",)
    assert locate("things", ("b.json",), str(tmp_path / "a.json"), HUB) == (tmp_path / "a.json",)


def test_a_dotenv_is_read(tmp_path: Path) -> None:
    (tmp_path / "data" / "things").mkdir(parents=True)
    (tmp_path / "data" / "things" / "a.json").write_text("[]")
    (tmp_path / ".env").write_text(f"SELFSTUDY_DATA={tmp_path / 'data'}\n")
    assert locate("things", ("a.json",), None, None) == (tmp_path / "data" / "things" / "a.json",)


def test_a_dotenv_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("SELFSTUDY_DATA=größe".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"\.env: not UTF-8 text .*; save it as UTF-8"):
        locate("things", ("a.json",), None, None)


def test_a_wrong_path_is_an_error_and_nothing_else_is_tried(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file or folder"):
        locate("things", ("a.json",), "nowhere", HUB)
    with pytest.raises(DataError, match=r"holds no a\.json"):
        locate("things", ("a.json",), str(tmp_path), HUB)


def test_without_the_hub_it_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match=r"SELFSTUDY_DATA is not set.*set SELFSTUDY_DATA"):
        locate("things", ("a.json",), None, None)
    monkeypatch.setenv("SELFSTUDY_DATA", str(tmp_path))
    with pytest.raises(DataError, match=r"no a\.json in"):
        locate("things", ("a.json",), None, None)


def test_the_hub_gives_files_in_the_order_of_the_patterns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "snapshot"
    (place / "data").mkdir(parents=True)
    for name in ("data/test-00000.parquet", "data/train-00001.parquet", "data/train-00000.parquet", "train.json"):
        (place / name).write_text("")
    asked: list[tuple[str, str, bool]] = []

    def download(repo: str, *, repo_type: str, allow_patterns: object = None, local_files_only: bool = False) -> str:
        if local_files_only and not asked:
            raise errors.LocalEntryNotFoundError("no cache")
        asked.append((repo, repo_type, local_files_only))
        return str(place)

    monkeypatch.setattr(files, "snapshot_download", download)
    with pytest.raises(DataError, match=r"someone/things is not on this machine yet; a run downloads it, or set SELF"):
        locate("things", ("a.json",), None, HUB)
    assert asked == []
    found = locate("things", ("a.json",), None, HUB, download=True)
    assert asked == [("someone/things", "dataset", False)]
    shown = ["data/train-00000.parquet", "data/train-00001.parquet", "data/test-00000.parquet"]
    assert [path.relative_to(place).as_posix() for path in found] == shown
    for fetched in (False, True):  # from the cache by now, whatever is allowed
        assert locate("things", ("a.json",), None, HUB, download=fetched) == found
    assert not [asking for asking in asked[1:] if not asking[2]]
    shutil.rmtree(place / "data")
    with pytest.raises(DataError, match=r"has no file \*test\*"):
        locate("things", ("a.json",), None, HUB, download=True)


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("GatedRepoError", r"is gated: accept its terms at .*hf auth login.*SELFSTUDY_DATA"),
        ("RepositoryNotFoundError", "needs a login: run `hf auth login`"),
        ("HfHubHTTPError", r"could not download"),
    ],
)
def test_refusals_of_the_hub_say_what_to_do(monkeypatch: pytest.MonkeyPatch, kind: str, message: str) -> None:
    response = SimpleNamespace(headers={}, request=SimpleNamespace(), status_code=401)
    fail_with(monkeypatch, getattr(errors, kind)("refused", response=response))
    with pytest.raises(DataError, match=message):
        locate("things", ("a.json",), None, HUB, download=True)


@pytest.mark.parametrize(
    "error", [errors.LocalEntryNotFoundError("no cache"), ConnectionError("no network"), OSError()]
)
def test_no_network_says_what_to_do(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    fail_with(monkeypatch, error)
    with pytest.raises(DataError, match=r"could not download.*check the connection, or set SELFSTUDY_DATA"):
        locate("things", ("a.json",), None, HUB, download=True)


def test_a_fault_of_our_own_is_not_dressed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    fail_with(monkeypatch, TypeError("a bug"))
    with pytest.raises(TypeError):
        locate("things", ("a.json",), None, HUB, download=True)
