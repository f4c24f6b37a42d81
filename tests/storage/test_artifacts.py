"""Artifacts: complete or absent, locked while made, checked when found."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from selfstudy.errors import StorageError
from selfstudy.storage import artifacts
from selfstudy.storage.artifacts import Store, digest_paths, seal
from selfstudy.storage.atomic import write_json


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
    assert store.unfinished("toy", "f00d") is None
    assert sorted(p.name for p in store.folder.iterdir()) == ["toy-f00d"]


def test_interrupted_attempt_keeps_its_files_and_is_not_found(tmp_path: Path) -> None:
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.building("toy", "f00d") as out:
        (out / "part-0").write_text("kept")
        raise RuntimeError
    assert store.find("toy", "f00d") is None
    assert store.unfinished("toy", "f00d") is not None
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


def test_digest_is_of_contents_not_of_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "_COARSEST", 3600 * 10**9)  # however busy the machine is
    cache = tmp_path / "cache.json"
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "w.bin").write_text("weights")
    same = digest_paths((tmp_path / "a",), cache)
    assert digest_paths((tmp_path / "b",), cache) == same
    changed = (tmp_path / "a" / "w.bin").stat().st_mtime_ns
    (tmp_path / "a" / "w.bin").write_text("WEIGHTS")  # same path, same size, new weights
    os.utime(tmp_path / "a" / "w.bin", ns=(changed, changed))  # and the same time, where the clock of files is coarse
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


@pytest.mark.parametrize("edit", [{}, {"sdal": "x"}, {"seal": "x"}])
def test_a_manifest_whose_seal_is_gone_or_another_is_refused(tmp_path: Path, edit: dict[str, str]) -> None:
    path = make(Store(tmp_path)) / "manifest.json"
    tree = json.loads(path.read_text())
    del tree["seal"]
    path.write_text(json.dumps(tree | edit))
    with pytest.raises(StorageError, match="the manifest is not as it was written"):
        Store(tmp_path).find("toy", "f00d")


def resealed(path: Path, **changes: Any) -> None:
    """Change a manifest as somebody would who knows how it is made."""
    tree = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(tree | {"seal": seal(tree)}))


@pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "sub/a.txt", "..", "."])
def test_a_manifest_that_names_a_file_elsewhere_is_refused(name: str, tmp_path: Path) -> None:
    path = make(Store(tmp_path))
    (tmp_path / "artifacts" / "secret").write_text("hello")
    (path / "sub").mkdir()
    (path / "sub" / "a.txt").write_text("hello")
    resealed(path / "manifest.json", files={name: {"size": 5, "sha256": "0"}})
    with pytest.raises(StorageError, match=r"the manifest is not as it was written|/\.\. is missing"):
        Store(tmp_path).find("toy", "f00d")


@pytest.mark.parametrize("kind", ["../toy", "/tmp/toy", "a/b", "toy\0", "", "a\nb", "."])
def test_a_kind_or_fingerprint_that_leads_elsewhere_is_refused(kind: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "root")
    for names in ((kind, "f00d"), ("toy", f"f00d{kind}/..") if kind else ("toy", "../f00d")):
        for act in (store.find, store.unfinished, lambda *n: store.building(*n).__enter__()):
            with pytest.raises(StorageError, match="is no name of an artifact"):
                act(*names)
    assert not (tmp_path / "root" / "artifacts").exists() or not list((tmp_path / "root" / "artifacts").iterdir())


@pytest.mark.parametrize("where", ["the folder", "a file", "a folder in it", "a file in that", "the lock"])
def test_no_link_makes_a_stage_write_elsewhere(where: str, tmp_path: Path) -> None:
    store = Store(tmp_path / "root")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    working = store.folder / "toy-f00d.tmp"
    (working / "step-1").mkdir(parents=True)
    places = {
        "the folder": (working, outside),
        "a file": (working / "train_log.jsonl", outside / "precious"),
        "a folder in it": (working / "step-2", outside),
        "a file in that": (working / "step-1" / ".x.writing", outside / "precious"),
        "the lock": (store.folder / ".toy-f00d.lock", outside / "precious"),
    }
    link, target = places[where]
    if link.is_dir():
        shutil.rmtree(link)
    link.symlink_to(target)
    with pytest.raises((StorageError, OSError), match=r"is a link to .*remove it|symbolic link"):
        make(store)
    assert [path.name for path in outside.iterdir()] == ["precious"]
    assert (outside / "precious").read_text() == "mine"


def test_a_planted_temporary_file_leads_nowhere(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    (tmp_path / ".a.json.writing").symlink_to(tmp_path / "precious")
    write_json(tmp_path / "a.json", {"n": 1})
    assert (tmp_path / "precious").read_text() == "mine"
    assert json.loads((tmp_path / "a.json").read_text()) == {"n": 1}
    assert not (tmp_path / "a.json").is_symlink()


@pytest.mark.parametrize("text", ["", "{", "[1]", "\xff"])
def test_a_damaged_cache_of_digests_only_costs_time(text: str, tmp_path: Path) -> None:
    (tmp_path / "w.bin").write_text("weights")
    right = digest_paths((tmp_path / "w.bin",), tmp_path / "good.json")
    (tmp_path / "bad.json").write_bytes(text.encode("latin-1"))
    assert digest_paths((tmp_path / "w.bin",), tmp_path / "bad.json") == right


def test_many_at_once_keep_one_cache_of_digests(tmp_path: Path) -> None:
    """Locks are of open files, so that threads stand for processes here."""
    files = [tmp_path / f"{number}" for number in range(32)]
    for file in files:
        file.write_text(file.name)
        os.utime(file, (0, 0))
    cache = tmp_path / "cache" / "digests.json"
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda file: digest_paths((file,), cache), files * 4))
    assert found == [digest_paths((file,), tmp_path / "other" / "digests.json") for file in files * 4]
    known = json.loads(cache.read_text())
    assert known
    assert {key.partition("|")[0] for key in known} <= set(map(str, files))
    digest_paths(tuple(files), cache)
    assert len(json.loads(cache.read_text())) == len(files)
    assert [path.name for path in cache.parent.iterdir()] == [cache.name]


def test_digests_that_others_wrote_meanwhile_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "digests.json"
    (tmp_path / "mine").write_text("mine")
    os.utime(tmp_path / "mine", (0, 0))
    digest = artifacts.sha256

    def meanwhile(path: Path) -> str:
        cache.write_text(json.dumps({"theirs": "0"}))
        return digest(path)

    monkeypatch.setattr(artifacts, "sha256", meanwhile)
    digest_paths((tmp_path / "mine",), cache)
    assert len(json.loads(cache.read_text())) == 2
    assert json.loads(cache.read_text())["theirs"] == "0"
