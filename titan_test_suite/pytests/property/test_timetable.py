"""Timetables against an oracle that goes through a zone's clock minute by minute.

The oracle knows the rules of docs/schedules.md and nothing of how they are carried out: it looks at every minute of
UTC, asks what the zone's clock shows, and matches that against the fields itself.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from titan_sdk.messages import Recurrence
from titan_sdk.timetable import recurrence, timetable_of

MINUTE = timedelta(minutes=1)
UTC = timezone.utc

CHANGES = {
    # Both hemispheres, a change at midnight, one by half an hour, one of the whole zone's day, one without any.
    "Europe/Berlin": (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 10, 25, 1, tzinfo=UTC)),
    "America/New_York": (datetime(2026, 3, 8, 7, tzinfo=UTC), datetime(2026, 11, 1, 6, tzinfo=UTC)),
    "America/Santiago": (datetime(2026, 4, 5, 3, tzinfo=UTC), datetime(2026, 9, 6, 4, tzinfo=UTC)),
    "Australia/Sydney": (datetime(2026, 4, 4, 16, tzinfo=UTC), datetime(2026, 10, 3, 16, tzinfo=UTC)),
    "Australia/Lord_Howe": (datetime(2026, 4, 4, 15, tzinfo=UTC), datetime(2026, 10, 3, 15, 30, tzinfo=UTC)),
    "Pacific/Apia": (datetime(2011, 12, 30, 10, tzinfo=UTC),),
    "Asia/Kathmandu": (datetime(2026, 3, 29, 1, tzinfo=UTC),),
}
AFTER = timedelta(hours=30)


def values(text: str, low: int, high: int) -> set[int]:
    """What a field stands for."""
    found: set[int] = set()
    for part in text.split(","):
        span, _, step = part.partition("/")
        if span == "*":
            first, last = low, high
        else:
            begin, _, end = span.partition("-")
            first = int(begin)
            last = int(end) if end else (high if step else first)
        found |= set(range(first, last + 1, int(step or 1)))
    return found


class Fields:
    def __init__(self, expression: str) -> None:
        texts = expression.split()
        self.minutes, self.hours = values(texts[0], 0, 59), values(texts[1], 0, 23)
        self.days, self.months = values(texts[2], 1, 31), values(texts[3], 1, 12)
        self.weekdays = {day % 7 for day in values(texts[4], 0, 7)}
        self.both = texts[2].startswith("*") or texts[4].startswith("*")
        self.rhythm = texts[1].startswith("*")

    def match(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        day, weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return (day and weekday) if self.both else (day or weekday)


def oracle(expression: str, zone: ZoneInfo, begin: datetime, end: datetime) -> list[datetime]:
    """The due times in (begin, end], by walking through every minute."""
    fields = Fields(expression)
    dues = []
    instant = begin.replace(second=0) - timedelta(hours=25)
    shown: datetime | None = None  # the latest wall-clock time that any minute so far has shown
    while instant < end:
        instant += MINUTE
        wall = instant.astimezone(zone).replace(tzinfo=None, fold=0)
        due = fields.match(wall) and (fields.rhythm or shown is None or wall > shown)
        if shown is not None:
            left_out = shown + MINUTE
            while left_out < wall:  # the clock was set forward: these minutes are not shown at all
                due = due or fields.match(left_out)
                left_out += MINUTE
        shown = wall if shown is None else max(shown, wall)
        if due and instant > begin:
            dues.append(instant)
    return dues


def enumerated(when: Recurrence, begin: datetime, end: datetime) -> list[datetime]:
    timetable = timetable_of(when, 0)
    dues = []
    moment = timetable.after(round(begin.timestamp() * 1000))
    while moment is not None and moment <= end.timestamp() * 1000:
        dues.append(datetime.fromtimestamp(moment / 1000, UTC))
        moment = timetable.after(moment)
    return dues


def field(low: int, high: int, *plain: str) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # cronsim takes 5-5/2 for 5/2, on whose meaning crons differ.
    span = st.tuples(number, number).filter(lambda pair: pair[0] < pair[1]).map(lambda pair: f"{pair[0]}-{pair[1]}")
    step = st.builds(lambda base, by: f"{base}/{by}", st.just("*") | span, st.integers(1, 12))
    listed = st.lists(number.map(str) | span, min_size=1, max_size=3).map(",".join)
    return st.sampled_from(plain or ("*",)) | number.map(str) | step | listed


EXPRESSIONS = st.builds(
    " ".join,
    st.tuples(
        field(0, 59),
        # Mostly around the hours at which clocks are set.
        st.sampled_from(("*", "*/2", "0", "1", "2", "3", "1-3", "23,0-2")) | field(0, 23),
        st.just("*") | field(1, 31),
        st.just("*"),
        st.just("*") | field(0, 7),
    ),
)


@given(EXPRESSIONS, st.sampled_from(sorted(CHANGES)), st.integers(0, 1), st.integers(-29 * 60, 0))
def test_a_cron_expression_is_due_when_the_clock_says(expression: str, name: str, which: int, offset: int) -> None:
    change = CHANGES[name][which % len(CHANGES[name])]
    begin, end = change + timedelta(minutes=offset), change + AFTER
    when = Recurrence(cron=expression, timezone=name)
    assert enumerated(when, begin, end) == oracle(expression, ZoneInfo(name), begin, end), (expression, name)


@given(EXPRESSIONS, st.sampled_from(sorted(CHANGES)), st.integers(-90, 90))
def test_from_any_moment_the_next_due_time_is_the_first_one_after_it(expression: str, name: str, minutes: int) -> None:
    change = CHANGES[name][-1]
    moment = change + timedelta(minutes=minutes, seconds=17)
    expected = oracle(expression, ZoneInfo(name), moment, change + AFTER)
    found = timetable_of(Recurrence(cron=expression, timezone=name), 0).after(round(moment.timestamp() * 1000))
    if expected:
        assert found == expected[0].timestamp() * 1000
    else:
        assert found is None or found > (change + AFTER).timestamp() * 1000


@pytest.mark.parametrize("name", ["Europe/Berlin", "Australia/Lord_Howe", "America/Santiago"])
@pytest.mark.parametrize("expression", ["30 2 * * *", "0 */6 * * *", "15 0 1,15 * 1", "0 0 29 2 *", "*/17 1-3 * * 0"])
def test_years_of_due_times(name: str, expression: str) -> None:
    begin, end = datetime(2027, 12, 30, tzinfo=UTC), datetime(2029, 1, 2, tzinfo=UTC)
    expected = oracle(expression, ZoneInfo(name), begin, end)
    assert expected and enumerated(Recurrence(cron=expression, timezone=name), begin, end) == expected


@given(st.integers(1000, 10**9), st.integers(0, 2 * 10**12), st.integers(0, 2 * 10**12))
def test_an_interval_is_due_at_its_multiples_and_at_no_other_time(every: int, anchor: int, moment: int) -> None:
    due = timetable_of(Recurrence(every_ms=every), anchor).after(moment)
    assert due is not None and moment < due <= moment + every and (due - anchor) % every == 0


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 2 * 10**9))
def test_nothing_is_due_outside_of_start_and_end(start: int, length: int, moment: int) -> None:
    when = Recurrence(every_ms=60_000, start_at=start, end_at=start + length)
    due = timetable_of(when, 0).after(moment)
    first = timetable_of(when, 0).after(0)
    assert start == 0 or first == start
    assert due is None or max(moment + 1, start) <= due <= (start + length or due)


def test_texts_become_a_recurrence() -> None:
    when = recurrence(cron="@daily", timezone="Europe/Berlin", start="2026-12-24", end="2026-12-26T12:00", jitter="90s")
    dues = enumerated(when, datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))
    assert [due.isoformat() for due in dues] == [f"2026-12-{day}T23:00:00+00:00" for day in (23, 24, 25)]
    assert when.jitter_ms == 90_000
