"""Artifacts: complete or absent, locked while made, checked when found."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from selfstudy.errors import StorageError
from selfstudy.storage.artifacts import Store, digest_paths


def make(store: Store, text: str = "hello") -> Path:
    with store.building("toy", "f00d") as out:
        (out / "a.txt").write_text(text)
        (out / "step-1").mkdir()
        (out / "step-1" / "weights").write_text("scratch")
        return store.publish("toy", "f00d", recipe={}, metrics={"n": 1}, seconds=0.0).path


def test_published_artifact_is_flat_complete_and_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    assert store.find("toy", "f00d") is None
    path = make(store)
    assert sorted(p.name for p in path.iterdir()) == ["a.txt", "manifest.json"]
    assert store.find("toy", "f00d").metrics() == {"n": 1}
    assert not store.in_progress("toy", "f00d")
    assert sorted(p.name for p in store.folder.iterdir()) == ["toy-f00d"]


def test_interrupted_attempt_keeps_its_files_and_is_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.building("toy", "f00d") as out:
        (out / "part-0").write_text("kept")
        raise RuntimeError
    assert store.find("toy", "f00d") is None
    assert store.in_progress("toy", "f00d")
    with store.building("toy", "f00d") as out:
        assert (out / "part-0").read_text() == "kept"


@pytest.mark.parametrize("damage", ["truncate", "remove", "manifest", "format"])
def test_damage_is_named_and_never_used(tmp_path: Path, damage: str) -> None:
    store = Store(tmp_path)
    path = make(store)
    if damage == "truncate":
        (path / "a.txt").write_text("hell")
    elif damage == "remove":
        (path / "a.txt").unlink()
    elif damage == "manifest":
        (path / "manifest.json").write_text("{")
    else:
        manifest = json.loads((path / "manifest.json").read_text())
        (path / "manifest.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(StorageError, match="run again to make it anew"):
        store.find("toy", "f00d")


def _hold(root: Path, ready: multiprocessing.Event, leave: multiprocessing.Event) -> None:  # type: ignore[valid-type]
    with Store(root).building("toy", "f00d"):
        ready.set()
        leave.wait(20)


def test_second_writer_is_refused_by_name_and_a_dead_holder_is_replaced(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, leave = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(tmp_path, ready, leave))
    holder.start()
    assert ready.wait(20)
    with (
        pytest.raises(StorageError, match=f"toy-f00d is being made by process {holder.pid}"),
        Store(tmp_path).building("toy", "f00d"),
    ):
        pass
    holder.kill()
    holder.join()
    make(Store(tmp_path))  # the lock of a dead holder is no lock


def test_digest_is_of_contents_not_of_places(tmp_path: Path) -> None:
    cache = tmp_path / "cache.json"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.bin").write_text("weights")
    same = digest_paths((tmp_path / "a",), cache)
    assert digest_paths((tmp_path / "b",), cache) == same
    (tmp_path / "a" / "w.bin").write_text("WEIGHTS")  # same path, same size, new weights
    assert digest_paths((tmp_path / "a",), cache) != same
    (tmp_path / "b" / "w.bin").rename(tmp_path / "b" / "v.bin")
    assert digest_paths((tmp_path / "b",), cache) != same
    with pytest.raises(StorageError, match="no such file"):
        digest_paths((tmp_path / "nowhere",), cache)


@pytest.mark.parametrize("where", ["rename_folder", "shutil.rmtree"])
def test_killed_while_publishing_only_the_rest_is_done(
    where: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest is written before scratch is dropped, so that no attempt has one without the other."""

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    store = Store(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(f"selfstudy.storage.artifacts.{where}", die)
        with pytest.raises(KeyboardInterrupt):
            make(store)
    assert store.find("toy", "f00d") is None
    with store.building("toy", "f00d") as out:
        found = store.find("toy", "f00d")
        assert list(out.iterdir()) == []
    assert found is not None
    assert sorted(p.name for p in found.path.iterdir()) == ["a.txt", "manifest.json"]
