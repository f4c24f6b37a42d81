"""Files that survive kills: atomic writes, typed records, immutable artifacts, seeds."""
