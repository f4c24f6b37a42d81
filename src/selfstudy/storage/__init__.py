"""Files that survive kills: atomic writes, typed records, immutable artifacts, seeds."""

from pathlib import Path

DEFAULT_ROOT = Path("selfstudy-runs")  # where artifacts and runs lie, unless a config or a caller says otherwise
