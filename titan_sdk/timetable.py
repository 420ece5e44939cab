"""Timetables: when something is due, again and again. Pure: moments in (epoch ms, UTC), moments out; no clock is read.

Cron expressions are parsed and enumerated by cronsim: it follows Debian's cron to the letter, is maintained and small,
and needs nothing else; croniter brings dateutil and guesses at changes of the clock, APScheduler has weekdays of its
own. It is asked for wall-clock times alone. What those mean in a zone is decided here, as cronsim goes wrong where a
clock is moved by half an hour: see Cron.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from functools import lru_cache
from itertools import takewhile
from typing import Any, Final, Protocol, cast, get_args
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from titan_sdk.errors import InvalidName
from titan_sdk.messages import MisfirePolicy, OverlapPolicy, Recurrence

MISFIRES: Final = get_args(MisfirePolicy)
OVERLAPS: Final = get_args(OverlapPolicy)

MIN_EVERY_MS: Final = 1000
MAX_DURATION_MS: Final = 10 * 366 * 24 * 3600 * 1000
"""Ten years: for intervals, windows and jitter; longer is a slip of the unit."""
MAX_MOMENT_MS: Final = 32_503_680_000_000
"""The year 3000: no start or end is later."""
MAX_EXPRESSION: Final = 256
"""Characters of a cron expression: every minute and hour written out has less."""

NICKNAMES: Final = {
    "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *", "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}  # fmt: skip

_UNITS_MS: Final = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_PART: Final = r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s*(ms|s|m|h|d|w)"
_DURATION: Final = re.compile(rf"\s*(?:{_PART}\s*)+", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MS: Final = timedelta(milliseconds=1)
_MINUTE: Final = timedelta(minutes=1)


class Timetable(Protocol):
    def after(self, moment: int) -> int | None:
        """The first due time after ``moment``; None when there is none any more."""
        ...


class Interval:
    """Due at ``anchor`` + k * ``every``, for every k."""

    def __init__(self, every: int, anchor: int) -> None:
        self._every = every
        self._anchor = anchor

    def after(self, moment: int) -> int | None:
        return moment + self._every - (moment - self._anchor) % self._every


class Cron:
    """A cron expression, meant for the wall clock of a zone.

    Each wall-clock time that the expression names is due once. When the clock is set forward, the times that it leaves
    out are due at the first minute after that, together; when it is set back, a time that comes twice counts the first
    time. An hour field that begins with ``*`` (every hour, every second one) means no times of the day but a rhythm: it
    goes on through the repeated hour, as in Debian's cron.
    """

    def __init__(self, expression: str, zone: tzinfo) -> None:
        self._expression = expression
        self._zone = zone
        self._rhythm = expression.split()[1].startswith("*")

    def after(self, moment: int) -> int | None:
        now = _EPOCH + moment * _MS
        local = now.astimezone(self._zone)
        begin = local.replace(tzinfo=None, fold=0)
        dues = (_instant(wall, self._zone) for wall in self._walls(begin))
        found = next((due for due in dues if due > now), None)
        twice = _set_back(begin, self._zone) if self._rhythm else timedelta()
        if twice:  # now lies in an hour that comes twice: what is due in its second coming may be first
            walls = self._walls(begin if local.fold else begin - twice)
            near = takewhile(lambda wall: wall <= begin + twice, walls)
            seconds = (_instant(wall, self._zone, 1) for wall in near if _set_back(wall, self._zone))
            again = next((due for due in seconds if due > now), None)
            found = min((due for due in (found, again) if due is not None), default=None)
        return None if found is None else (found - _EPOCH) // _MS

    def _walls(self, begin: datetime) -> Iterator[datetime]:
        """The wall-clock times after ``begin``."""
        return CronSim(self._expression, begin)


def _set_back(wall: datetime, zone: tzinfo) -> timedelta:
    """How far apart the two moments are at which the zone's clock shows that time; 0 when there is one or none."""
    first, second = (cast(timedelta, zone.utcoffset(wall.replace(tzinfo=zone, fold=fold))) for fold in (0, 1))
    return max(first - second, timedelta())


def _instant(wall: datetime, zone: tzinfo, fold: int = 0) -> datetime:
    """The moment at which the zone's clock shows that time; when it never does, the first full minute after that."""
    while True:
        instant = wall.replace(tzinfo=zone, fold=fold).astimezone(timezone.utc)
        if instant.astimezone(zone).replace(tzinfo=None, fold=0) == wall:
            return instant
        wall += _MINUTE


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    """Raises InvalidName."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        raise InvalidName(f"there is no time zone {name[:60]!r}; names are like Europe/Berlin or UTC") from None


@lru_cache(maxsize=4096)
def _cron(expression: str, zone: str) -> Cron:
    """Raises InvalidName."""
    fields = NICKNAMES.get(expression.lower(), expression)
    shown = repr(expression if len(expression) <= 80 else f"{expression[:80]}...")
    if fields.startswith("@"):
        raise InvalidName(f"{shown} is no schedule; {', '.join(NICKNAMES)} are, and five fields like '0 6 * * 1-5'")
    count = len(fields.split())
    if count != 5 or len(fields) > MAX_EXPRESSION:
        wanted = "minute, hour, day of month, month, day of week"
        raise InvalidName(f"{shown} is no cron expression: five fields are wanted ({wanted}), not {count}")
    try:
        CronSim(fields, datetime(2000, 1, 1))
    except CronSimError as error:
        raise InvalidName(f"{shown} is no cron expression: {str(error).lower()}") from None
    found = Cron(fields, _zone(zone))
    if found.after(946_684_800_000) is None:
        raise InvalidName(f"{shown} is never due")
    return found


def timetable_of(when: Recurrence, anchor: int) -> Timetable:
    """Where ``anchor`` is what intervals are counted from when ``start_at`` does not say: epoch ms.

    Raises:
        InvalidName: it cannot be used; the text is one line.
    """
    if when.cron and not when.every_ms:
        inner: Timetable = _cron(when.cron, when.timezone)
    elif when.every_ms and not when.cron:
        inner = Interval(_between("every", when.every_ms, MIN_EVERY_MS, MAX_DURATION_MS), when.start_at or anchor)
    else:
        raise InvalidName("a schedule needs a cron expression or an interval, and not both")
    return _Bounded(inner, when.start_at, when.end_at) if when.start_at or when.end_at else inner


class _Bounded:
    def __init__(self, inner: Timetable, start_at: int, end_at: int) -> None:
        self._inner = inner
        self._start_at = start_at
        self._end_at = end_at

    def after(self, moment: int) -> int | None:
        due = self._inner.after(max(moment, self._start_at - 1))
        return None if due is None or (self._end_at and due > self._end_at) else due


def check_recurrence(when: Recurrence) -> Recurrence:
    """The recurrence itself when it can be used.

    Raises:
        InvalidName: it cannot; the text is one line.
    """
    _zone(when.timezone)
    _between("jitter", when.jitter_ms, 0, when.every_ms or _UNITS_MS["d"])
    _between("misfire window", when.misfire_window_ms, 0, MAX_DURATION_MS)
    for name, moment in (("start", when.start_at), ("end", when.end_at)):
        if not 0 <= moment <= MAX_MOMENT_MS:
            raise InvalidName(f"the {name} is out of range; a time between 1970 and 3000 is wanted")
    if when.end_at and when.end_at < when.start_at:
        raise InvalidName("the end is before the start")
    timetable_of(when, 0)
    return when


def _between(what: str, value: int, low: int, high: int) -> int:
    if not low <= value <= high:
        shown = format_duration(value) if value >= 0 else f"{value} ms"
        raise InvalidName(
            f"{what} {shown} is out of range; {format_duration(low)} to {format_duration(high)} is wanted"
        )
    return value


# --- as people write it ---------------------------------------------------------------------------------------------


def recurrence(
    *,
    cron: str | None = None,
    every: str | float | timedelta | None = None,
    timezone: str = "UTC",
    misfire: str = "latest",
    misfire_window: str | float | timedelta = "24h",
    overlap: str = "skip",
    jitter: str | float | timedelta = 0,
    start: str | date | None = None,
    end: str | date | None = None,
) -> Recurrence:
    """A checked Recurrence. Durations: seconds, a timedelta, or a text like ``90s``, ``15m``, ``1h30m``, ``2d``.

    ``start`` and ``end``: a datetime or an ISO text; without an offset it is of the zone ``timezone``, which is also
    where a date alone begins.

    Raises:
        InvalidName: something cannot be used; the text is one line.
    """
    _choice("misfire", misfire, MISFIRES)
    _choice("overlap", overlap, OVERLAPS)
    return check_recurrence(
        Recurrence(
            cron="" if cron is None else " ".join(cron.split()),
            every_ms=0 if every is None else parse_duration(every, "every"),
            timezone=timezone,
            misfire=cast(MisfirePolicy, misfire),
            misfire_window_ms=parse_duration(misfire_window, "misfire_window"),
            overlap=cast(OverlapPolicy, overlap),
            jitter_ms=parse_duration(jitter, "jitter"),
            start_at=_moment(start, timezone, "start"),
            end_at=_moment(end, timezone, "end"),
        )
    )


def _choice(what: str, value: Any, known: tuple[str, ...]) -> None:
    if value not in known:
        raise InvalidName(f"{what} {value!r} is none of {', '.join(known)}")


def parse_duration(value: str | float | timedelta, what: str = "duration") -> int:
    """Milliseconds.

    Raises:
        InvalidName: it is no duration, or out of range.
    """
    wrong = f"{what} {str(value)[:60]!r} is no duration; 90s, 15m, 1h30m or 2d is how one is written"
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if isinstance(value, str):
        parts = re.findall(_PART, value.lower(), re.ASCII) if _DURATION.fullmatch(value.lower()) else []
        if not parts:
            raise InvalidName(wrong)
        ms = sum(float(number) * _UNITS_MS[unit] for number, unit in parts)
    elif not _is_number(value):
        raise InvalidName(wrong)
    else:
        ms = value * 1000
    return _between(what, round(min(ms, MAX_DURATION_MS + 1)), 0, MAX_DURATION_MS)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def format_duration(ms: int) -> str:
    """As parse_duration reads it: ``1h30m``; ``0s`` for nothing."""
    parts = []
    for unit in ("d", "h", "m", "s", "ms"):
        number, ms = divmod(ms, _UNITS_MS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def _moment(value: str | date | None, zone: str, what: str) -> int:
    if value is None:
        return 0
    try:
        if isinstance(value, str):
            text = value.strip()
            value = datetime.fromisoformat(f"{text[:-1]}+00:00" if text[-1:] in ("Z", "z") else text)
        if not isinstance(value, datetime):
            value = datetime.combine(value, time())
        if value.tzinfo is None:
            value = value.replace(tzinfo=_zone(zone))
        return (value - _EPOCH) // _MS
    except (TypeError, ValueError, OverflowError):
        like = "2026-12-01 or 2026-12-01T08:00"
        raise InvalidName(f"{what} {str(value)!r} is no time; {like} is how one is written") from None


def iso_time(moment: int, zone: str = "") -> str:
    """A moment (epoch ms) as ISO 8601 with the offset of the zone; of the viewer's own when none is named."""
    instant = _EPOCH + moment * _MS
    local = instant.astimezone(_zone(zone) if zone else None)
    return local.isoformat(timespec="milliseconds" if moment % 1000 else "seconds")
