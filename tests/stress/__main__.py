"""``python -m tests.stress``: disturb a short run, restart it, compare; all there is, or a selection by seed."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.stress.kills import FAMILIES, all_kills, ended, forked, go_straight, prepare, survive


def main() -> int:
    """Return 0 if every run survived."""
    parser = argparse.ArgumentParser(prog="python -m tests.stress", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every operation, killed and out of disk, and all moments")
    parser.add_argument("--take", type=int, default=16, help="otherwise so many of them")
    parser.add_argument("--moments", type=int, default=100, help="random moments of each family's run")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the selection")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--family", choices=FAMILIES, action="append", help="one alone")
    parser.add_argument("--folder", type=Path, help="to work in; what was done there is not done again")
    chosen = parser.parse_args()
    folder = (chosen.folder or Path(tempfile.mkdtemp(prefix="selfstudy-stress-"))).resolve()
    prepare(folder)
    straights = {family: go_straight(folder, family) for family in chosen.family or FAMILIES}
    assert threading.active_count() == 1
    for family, straight in straights.items():
        kinds = Counter(operation.kind for operation in straight.operations).most_common()
        counts = ", ".join(f"{count} {kind}" for kind, count in kinds)
        took = f"{straight.seconds:.1f} s of CPU time"
        print(
            f"{family}: {len(straight.kinds)} steps, {took}, {len(straight.operations)} operations: {counts}",
            flush=True,
        )
    kills = all_kills(straights, chosen.moments, chosen.seed)
    # In no order, so that the first of them say something of all.
    kills = random.Random(chosen.seed).sample(kills, len(kills) if chosen.all else min(chosen.take, len(kills)))
    log = folder / "survived.jsonl"
    done = {json.loads(line)["kill"] for line in log.read_text("utf-8").splitlines()} if log.exists() else set()
    print(f"{len(kills)} kills, {sum(kill.name in done for kill in kills)} of them done before", flush=True)
    kills = [kill for kill in kills if kill.name not in done]

    def work(number: int) -> None:
        for kill in kills[number :: chosen.workers]:
            try:
                stage, phase = survive(kill, straights[kill.family], folder, folder / f"work-{number}")
                line = {"kill": kill.name, "family": kill.family, "stage": stage, "phase": phase}
                with log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(line) + "\n")
            except AssertionError as error:
                kept = folder / f"failed-{number}-{time.monotonic_ns()}"
                (folder / f"work-{number}").rename(kept)
                print(f"FAILED {kill.name}: {error}\n  kept in {kept}", flush=True)

    started = time.monotonic()
    workers = [forked(lambda number=number: work(number), folder) for number in range(chosen.workers)]  # type: ignore[misc]
    watcher = forked(lambda: _watch(log, len(kills) + len(done), started), folder)
    statuses = [ended(worker) for worker in workers]
    os.kill(watcher, 9)
    ended(watcher)
    survived = [json.loads(line) for line in log.read_text("utf-8").splitlines()] if log.exists() else []
    lost = sorted({kill.name for kill in kills} - {line["kill"] for line in survived})
    _histogram(survived)
    print(f"{len(survived)} survived, {len(lost)} did not, {time.monotonic() - started:.0f} s")
    if not lost and not any(statuses) and chosen.folder is None:
        shutil.rmtree(folder)
    return int(bool(lost) or any(statuses))


def _watch(log: Path, total: int, started: float) -> None:
    while True:
        time.sleep(20)
        done = len(log.read_bytes().splitlines()) if log.exists() else 0
        print(f"  {done} of {total}, {time.monotonic() - started:.0f} s", flush=True)


def _histogram(survived: Sequence[dict[str, str]]) -> None:
    """Print how many kills there were, by stage and by what was going on."""
    for family in sorted({line["family"] for line in survived}):
        counts = Counter((line["stage"], line["phase"]) for line in survived if line["family"] == family)
        stages = list(dict.fromkeys(line["stage"] for line in survived if line["family"] == family))
        phases = sorted({phase for _, phase in counts}, key=lambda phase: (phase == "moment", phase))
        print(f"\n{family:12}" + "".join(f"{phase:>10}" for phase in [*phases, "all"]))
        for stage in stages:
            row = [counts[stage, phase] for phase in phases]
            print(f"{stage:12}" + "".join(f"{count or '·':>10}" for count in [*row, sum(row)]))
        sums = [sum(counts[stage, phase] for stage in stages) for phase in phases]
        print(f"{'all':12}" + "".join(f"{count:>10}" for count in [*sums, sum(sums)]))


if __name__ == "__main__":
    sys.exit(main())
