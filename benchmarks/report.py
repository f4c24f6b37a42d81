"""Measure the report of a large run: how long it takes to build, and how large it is.

    python benchmarks/report.py
    python benchmarks/report.py --problems 1000 --rounds 2 --samples 4 --keep /tmp/large

The run is made up (``synthetic.py``): so many training problems, in each round so many samples of every one for pairs
and as many for pseudo-labels, and a test set of a quarter as many problems. Making it up takes some minutes and is not
timed; ``--keep`` names a folder that is used again.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from synthetic import make_run

from selfstudy.report.page import write_report


def main(arguments: Sequence[str] | None = None) -> None:
    """Make up a run, write its report and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=5000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=10)
    parser.add_argument("--keep", type=Path, default=None, help="root of the run")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as scratch:
        run = make_run(options.keep or Path(scratch), settings(options.problems, options.rounds, options.samples))
        started = time.monotonic()
        path = write_report(run)
        seconds = time.monotonic() - started
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(f"{seconds:.1f} s, {path.stat().st_size / 1e6:.1f} MB, {memory:,.0f} MB of memory at most: {path}")


def settings(problems: int, rounds: int, samples: int) -> list[str]:
    """Return overrides of the quickstart for a run of that size."""
    return [
        f"problems.train.count={problems}",
        "problems.train.max_steps=3",
        f"problems.labelled={problems // 2}",
        "problems.unlabelled=all",
        f"problems.test.count={problems // 4}",
        f"rounds={rounds}",
        f"samples_per_step={samples}",
        f"pairs.n={samples}",
        f"labels.n={samples}",
        f"evaluation.samples={samples}",
        f"evaluation.ks=[1, {samples}]",
        "compute={device: cpu, threads: 1}",
    ]


if __name__ == "__main__":
    main()
