"""Who is shown how far an upload has come."""

from __future__ import annotations

import io
import sys

import pytest

from titan_sdk.progress_bar import showing


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_callback_is_handed_on() -> None:
    seen: list[tuple[int, int]] = []
    with showing(lambda sent, total: seen.append((sent, total)), "a") as report:
        assert report is not None
        report(1, 2)
    assert seen == [(1, 2)]


@pytest.mark.parametrize("wish", [None, False, True])
def test_nobody_is_shown_a_bar_where_it_was_not_wished_for_or_is_no_terminal(
    wish: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    with showing(wish, "a") as report:
        assert report is None
    assert capsys.readouterr() == ("", "")


def test_a_terminal_is_shown_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    with showing(True, "data[red].bin") as report:
        assert report is not None
        report(500_000, 1_000_000)
        report(1_000_000, 1_000_000)
    assert "data[red].bin" in screen.getvalue() and "1.0/1.0 MB" in screen.getvalue()


def test_without_a_wish_on_a_terminal_nothing_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    with showing(None, "a") as report:
        assert report is None
    assert screen.getvalue() == ""
