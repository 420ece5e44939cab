"""The table of faults at the end of a test run, also when several processes share the tests (pytest-xdist)."""

from __future__ import annotations

from typing import Any

import pytest

from titan_test_suite.pytests.chaos.tally import ROUNDS, SEED, Tally

TALLY = pytest.StashKey[Tally]()
_SENT = "titan_chaos"


def pytest_sessionfinish(session: pytest.Session) -> None:
    """A process that has part of the tests hands its rows over."""
    output: dict[str, Any] | None = getattr(session.config, "workeroutput", None)
    tally = session.config.stash.get(TALLY, None)
    if output is not None and tally is not None:
        output[_SENT] = vars(tally)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    rows = getattr(node, "workeroutput", {}).get(_SENT)
    if rows is not None:
        node.config.stash.setdefault(TALLY, Tally()).merge(**rows)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    tally = config.stash.get(TALLY, None)
    if tally is None or not (tally.trials or tally.skipped):
        return
    terminalreporter.section(f"chaos: {ROUNDS} rounds, TITAN_CHAOS_SEED={SEED}")
    for line in tally.lines():
        terminalreporter.write_line(line)
    for fault, found in tally.violations.items():
        for text in found:
            terminalreporter.write_line(f"violation, {fault}: {text}", red=True)
