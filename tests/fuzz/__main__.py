"""``python -m tests.fuzz TARGET [option of libFuzzer …]``, such as ``-max_total_time=600``; without a target, lists.

What is found lies in ``.fuzz/TARGET`` and is gone on with. ``python -m tests.fuzz --keep`` puts the shortest of it into
``tests/fuzz/corpus``, where the suite tries it too.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["selfstudy"]):
    from tests.fuzz.targets import SEEDS, TARGETS, write_corpus

FOUND = Path(".fuzz")
MOST = 40_000  # bytes that are kept of a target


def main() -> None:
    """Fuzz one target from its seeds until it fails or is told to stop."""
    if sys.argv[1:] == ["--keep"]:
        for name in TARGETS:
            keep(name)
        return
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"{__doc__}\ntargets: {', '.join(TARGETS)}")
    name = sys.argv[1]
    folder = FOUND / name
    folder.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (folder / f"seed-{number}").write_bytes(seed)
    atheris.Setup([sys.argv[0], *sys.argv[2:], str(folder)], TARGETS[name])
    atheris.Fuzz()


def keep(name: str) -> None:
    """Keep the shortest inputs that were found: each reached something that none before it had."""
    found = sorted((path.read_bytes() for path in (FOUND / name).glob("*")), key=lambda data: (len(data), data))
    kept: list[bytes] = []
    for data in found:
        if sum(map(len, kept)) + len(data) > MOST:
            break
        kept.append(data)
    if found:
        write_corpus(name, kept)
    print(f"{name}: {len(kept):,} of {len(found):,} inputs kept, {sum(map(len, kept)):,} bytes")


if __name__ == "__main__":
    main()
