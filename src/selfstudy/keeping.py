"""Looking after what runs have made: what ``selfstudy verify`` and ``gc`` do.

Both read plans, events and manifests alone; neither runs anything that a run's config names.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

from rich.markup import escape

from selfstudy.console import console
from selfstudy.errors import StorageError
from selfstudy.report.results import find_run, read_plan, store_of
from selfstudy.report.state import read_events
from selfstudy.storage import DEFAULT_ROOT
from selfstudy.storage.artifacts import Artifact, Store

# An artifact, an attempt at one, and what is left of a removal that was cut short.
_OURS = re.compile(r"[\w-]+-[0-9a-f]{16}(\.tmp)?|\.[\w.-]+\.doomed", re.ASCII)


def verify_run(run: str, root: Path) -> bool:
    """Read every file of a run's artifacts, compare it with what was made, print what is wrong, and say if nothing is.

    What the run has not made yet is not wrong; what it has made and is not there any more is.
    """
    folder = find_run(run, root)
    store = store_of(folder)
    made = _made(folder)
    checked: dict[str, Artifact] = {}
    faults: dict[str, str] = {}
    unmade = 0
    for line in read_plan(folder):
        name, kind, fingerprint = line["artifact"], line["kind"], line["fingerprint"]
        if name in checked or name in faults:
            continue
        try:
            found = store.find(kind, fingerprint) if fingerprint else None
            if found is not None:
                store.check(found)
                checked[name] = found
            elif name in made:
                faults[name] = f"{store.folder / name} was made and is gone; run again to make it anew"
            else:
                unmade += 1
        except StorageError as error:
            faults[name] = str(error)
        if name in faults:
            console.print(f"[bold red]{escape(line['name'])}[/]: {escape(faults[name])}", soft_wrap=True)
    if faults and not store.folder.is_dir():
        console.print(
            f"there is no {escape(str(store.folder))}: the folder of a run belongs below runs/ of the root that its "
            "artifacts lie in",
            soft_wrap=True,
        )
    files = [facts for artifact in checked.values() for facts in artifact.manifest()["files"].values()]
    console.print(
        f"{len(checked)} artifacts as they were made ({len(files):,} files, {sum(f['size'] for f in files) / 1e6:,.1f} "
        f"MB), {len(faults)} damaged or gone, {unmade} not made yet"
    )
    return not faults


def _made(folder: Path) -> set[str]:
    """Return the names of the artifacts that a run has had, by its events."""
    events = read_events(folder / "events.jsonl")
    return {str(event.get("artifact")) for event in events if event["event"] in ("step_finished", "step_skipped")}


def collect(root: Path, *, delete: bool) -> None:
    """List what no run below a root needs, with sizes, and remove it if asked to.

    An attempt that a run can go on from is kept, and so is whatever was not made by a run.

    Raises:
        StorageError: A plan cannot be read, so that nobody knows what its run needs; or, where something is to be
            removed, a process is making an artifact.
    """
    store = Store(root)
    plans, needed = _needed(root)
    garbage = [entry for entry in _entries(store) if entry.name.removesuffix(".tmp") not in needed]
    if delete:
        store.refuse_live()
    for entry in garbage:
        if delete and entry.name.removesuffix(".tmp") in _needed(root)[1]:
            continue  # by a run that has begun since
        console.print(f"{_size(entry) / 1e6:10,.1f} MB  {escape(entry.name)}")
        if delete:
            store.discard(entry.name)
    where = f"below {escape(str(store.folder))} that no run needs ({plans} runs use what lies there)"
    if not garbage:
        console.print(f"there is nothing {where}")
        return
    option = "" if root == DEFAULT_ROOT else f" --root {escape(shlex.quote(str(root)))}"
    said = "removed" if delete else f"to remove them: selfstudy gc --delete{option}"
    console.print(f"{len(garbage)} {where}; {said}", soft_wrap=True)


def _needed(root: Path) -> tuple[int, set[str]]:
    """Return how many runs there are, and the names of the artifacts in their plans."""
    plans = sorted((root / "runs").glob("*/plan.json"))
    return len(plans), {line["artifact"] for plan in plans for line in read_plan(plan.parent)}


def _entries(store: Store) -> Iterator[Path]:
    for entry in sorted(store.folder.iterdir()) if store.folder.is_dir() else ():
        if entry.is_dir() and not entry.is_symlink() and _OURS.fullmatch(entry.name):
            yield entry


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*"))
