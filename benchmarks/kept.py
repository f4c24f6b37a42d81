"""What long benchmarks found, kept as text beside them: a run whose findings are here is not carried out again.

``benchmarks/kept/NAME.json`` holds what was found of one run, and the digest of its plan, in which every setting, the
data, the weights and the versions of the stages have a part. Where the digest is another, the run is carried out anew.
"""

from __future__ import annotations

import datetime
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from contenders.machine import processor
from contenders.measure import report

import selfstudy
from selfstudy.recipes.prepare import prepare
from selfstudy.report.results import Results
from selfstudy.storage.atomic import write_bytes

KEPT = Path(__file__).with_name("kept")


def kept(
    config: str,
    overrides: Sequence[str],
    find: Callable[[Results], Any],
    *,
    name: str,
    until: str | None = None,
    also: Sequence[tuple[str, Sequence[str]]] = (),
) -> Any:
    """Return what ``find`` says of a run's results: what is kept of it, else of the run carried out now.

    Args:
        config: A packaged config, or the path of a YAML file.
        overrides: ``a.b=value`` each.
        find: Returns what can be written as JSON, a mapping; each of its values goes on a line of its own.
        name: Of the run, and of what is kept.
        until: The run stops after this step.
        also: Config and overrides of what else the findings depend on.
    """
    plans = [prepare(*settings, run_name=name).plan for settings in ((config, overrides), *also)]
    digest = hashlib.sha256(
        json.dumps([step.artifact_name for plan in plans for step in plan.steps]).encode()
    ).hexdigest()[:16]
    path = KEPT / f"{name}.json"
    if path.is_file() and (read := json.loads(path.read_text(encoding="utf-8")))["plan"] == digest:
        return read["found"]
    report(f"{name} …")
    found = find(selfstudy.run(config, overrides, until=until, name=name, quiet=True))
    head = {"plan": digest, "date": str(datetime.date.today()), "machine": processor()}
    lines = [f"{json.dumps(key)}: {json.dumps(value)}" for key, value in head.items()]
    inner = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in found.items())
    path.parent.mkdir(exist_ok=True)
    write_bytes(path, ("{" + ",\n".join([*lines, f'"found": {{\n{inner}}}']) + "}\n").encode())
    return json.loads(path.read_text(encoding="utf-8"))["found"]
