"""How often each fault was tried, and what it broke."""

from __future__ import annotations

import os
import random
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

ROUNDS: Final = int(os.environ.get("TITAN_CHAOS_ROUNDS") or 1)
"""How hard the suite tries: 1 in a normal test run, more for ``./titan-dev test --chaos``."""
SEED: Final = int(os.environ.get("TITAN_CHAOS_SEED") or secrets.randbelow(1 << 32))
"""Of every random decision in the suite; printed, and given again to replay."""


def dice_for(name: str) -> random.Random:
    """The random numbers of one test: the same for the same seed, whatever other tests run."""
    return random.Random(f"{SEED} {name}")


class Tally:
    """Rows of the table that is printed at the end."""

    def __init__(self) -> None:
        self.trials: dict[str, int] = {}
        self.violations: dict[str, list[str]] = {}
        self.skipped: dict[str, str] = {}

    @contextmanager
    def trial(self, *faults: str, count: int = 1) -> Iterator[list[str]]:
        """One trial of these faults at once; what is put into the list are violations, and so is an exception."""
        found: list[str] = []
        for fault in faults:
            self.trials[fault] = self.trials.get(fault, 0) + count
        try:
            yield found
        except Exception as error:
            found.append(f"{type(error).__name__}: {error}".partition("\n")[0])
            raise
        finally:
            for fault in faults:
                self.violations.setdefault(fault, []).extend(found)
        assert not found, f"{', '.join(faults)} (TITAN_CHAOS_SEED={SEED}):\n" + "\n".join(found)

    def merge(self, trials: Mapping[str, int], violations: Mapping[str, list[str]], skipped: Mapping[str, str]) -> None:
        """Add the rows of another process."""
        for fault, count in trials.items():
            self.trials[fault] = self.trials.get(fault, 0) + count
        for fault, found in violations.items():
            self.violations.setdefault(fault, []).extend(found)
        self.skipped.update(skipped)

    def lines(self) -> list[str]:
        """The table."""
        width = max(map(len, [*self.trials, *self.skipped]))
        lines = [f"{'fault':{width}}  trials  violations"]
        for fault, trials in self.trials.items():
            lines.append(f"{fault:{width}}  {trials:>6}  {len(self.violations.get(fault, ())):>10}")
        lines += [f"{fault:{width}}  not tried: {reason}" for fault, reason in self.skipped.items()]
        return lines
