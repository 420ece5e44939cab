"""Amounts as people write them: ``2 jobs``, ``512MB``, ``1.5 GiB``, ``4G``; units are powers of 1024."""

from __future__ import annotations

import re
from typing import Final

from titan_sdk.errors import InvalidName

_UNITS: Final = {"": 1, "B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE: Final = re.compile(r"\s*(\d{1,16}(?:\.\d{1,6})?)\s*(?:([KMGT]?)I?(B?))\s*", re.ASCII)
MAX_SIZE: Final = 1 << 50
"""Bytes, a pebibyte; more is a slip of the unit."""


def parse_size(text: str | int) -> int:
    """Bytes; a number alone counts bytes.

    Raises:
        InvalidName: it is no amount of memory.
    """
    if isinstance(text, int) and not isinstance(text, bool):
        text = str(text)
    found = _SIZE.fullmatch(text.upper()) if isinstance(text, str) else None
    size = round(float(found[1]) * _UNITS[found[2]]) if found else -1
    if not 0 <= size <= MAX_SIZE:
        raise InvalidName(f"{text!r} is no amount of memory; 512MB or 1.5GB is how one is written")
    return size


def format_size(size: int) -> str:
    """Bytes for people, in the largest unit that leaves a number of at least 1."""
    for unit, factor in (("TB", 1 << 40), ("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size} bytes"


def counted(number: int, thing: str) -> str:
    """``1 job``, ``2 jobs``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"
