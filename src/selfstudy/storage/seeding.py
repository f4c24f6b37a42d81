"""Seeds: every random choice is keyed by what it is for, never by how many draws came before it."""

from __future__ import annotations

import hashlib
import json


def derive(seed: int, *parts: str | int) -> int:
    """Return a 63-bit seed for ``parts``, such as ``derive(seed, "order", epoch)``; equal on every machine."""
    key = json.dumps([seed, *parts], separators=(",", ":")).encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest(), "big") >> 1
