"""Lengths of time as people write them: ``90``, ``90s``, ``1.5h``, ``1h30m``, ``2 days``."""

from __future__ import annotations

import math
import re
from typing import Final

from titan_sdk.errors import InvalidName

_UNITS: Final = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_PART: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(s|m|h|d)[a-z]*\s*", re.ASCII)
_WORDS: Final = re.compile(r"(?:[\d.\s]+(?:s|secs?|seconds?|m|mins?|minutes?|h|hours?|d|days?))+\s*", re.ASCII)


def parse_duration(text: str | float) -> float:
    """Seconds; a number alone counts seconds.

    Raises:
        InvalidName: it is no length of time above 0.
    """
    seconds = math.nan
    if isinstance(text, (int, float)) and not isinstance(text, bool):
        seconds = float(text)
    elif isinstance(text, str):
        plain = text.strip().lower()
        if re.fullmatch(r"\d{1,12}(\.\d{1,6})?", plain, re.ASCII):
            seconds = float(plain)
        elif _WORDS.fullmatch(plain) and "".join(found[0] for found in _PART.finditer(plain)) == plain:
            seconds = sum(float(found[1]) * _UNITS[found[2]] for found in _PART.finditer(plain))
    if not 0 < seconds < math.inf:
        raise InvalidName(f"{text!r} is no length of time; 90s, 30m, 8h, 1h30m or 2d is how one is written")
    return seconds
