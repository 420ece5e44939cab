"""What a measurement is: samples of ours, samples of a yardstick taken in between, and the goal for both."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from titan_test_suite.benchmarks.cluster import Cluster


@dataclass(frozen=True)
class Samples:
    """The same thing measured several times, in the order of measuring."""

    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def low(self) -> float:
        return min(self.values)

    @property
    def high(self) -> float:
        return max(self.values)


@dataclass(frozen=True)
class Goal:
    """``ratio``: to be at least ``limit`` times as good as the yardstick; ``most``: at most ``limit`` units."""

    kind: Literal["ratio", "most"]
    limit: float

    def __str__(self) -> str:
        return f">= {self.limit:g} x" if self.kind == "ratio" else f"<= {self.limit:g}"


@dataclass(frozen=True)
class Result:
    """One line of the report.

    Attributes:
        bench: the name that ``--only`` takes. what: the line, for people.
        unit: of ``ours`` and ``theirs``; ``more_is_better`` says which way it counts.
        theirs, yardstick: what was measured beside it, if anything, and what that is.
    """

    bench: str
    what: str
    unit: str
    ours: Samples
    theirs: Samples | None = None
    yardstick: str = ""
    goal: Goal | None = None
    more_is_better: bool = False

    @property
    def ratio(self) -> float | None:
        """How many times as good as the yardstick: the median over the rounds, each of which saw the same machine."""
        if self.theirs is None:
            return None
        pairs = zip(self.ours.values, self.theirs.values, strict=True)
        return statistics.median(_ratio(a, b) if self.more_is_better else _ratio(b, a) for a, b in pairs)

    @property
    def met(self) -> bool | None:
        """Whether the goal was reached; None without one."""
        if self.goal is None:
            return None
        if self.goal.kind == "most":
            return self.ours.median <= self.goal.limit
        return self.ratio is not None and self.ratio >= self.goal.limit


def _ratio(above: float, below: float) -> float:
    return above / below if below else float("inf")


@dataclass(frozen=True)
class Setting:
    """How to measure.

    Attributes:
        repeat: rounds of everything. quick: a few seconds in all, to see that it works; its numbers say little.
        folder: on the disk that is measured; everything is written below it.
        say: gets a line for people at every step.
    """

    repeat: int
    quick: bool
    folder: Path
    say: Callable[[str], None]

    def size(self, full: int, quick: int) -> int:
        return quick if self.quick else full

    @contextmanager
    def cluster(self, name: str, workers: int = 1, *master_options: str) -> Iterator[Cluster]:
        """A new cluster with an empty journal, ended on leaving."""
        with Cluster(self.folder / name) as cluster:
            cluster.start_master(*master_options)
            for number in range(1, workers + 1):
                cluster.start_worker(f"worker-{number}")
            yield cluster

    def interleaved(self, title: str, parts: Mapping[str, Callable[[], float]]) -> dict[str, Samples]:
        """Call every part once in each round, another one first each time, so that noise meets them all alike."""
        names = list(parts)
        values: dict[str, list[float]] = {name: [] for name in names}
        for number in range(self.repeat):
            for name in names[number % len(names) :] + names[: number % len(names)]:
                value = parts[name]()
                values[name].append(value)
                self.say(f"{title}, round {number + 1}: {name} {value:.4g}")
        return {name: Samples(tuple(each)) for name, each in values.items()}

    def rounds(self, title: str, measure: Callable[[], Mapping[str, float]]) -> dict[str, Samples]:
        """Several numbers from one go, in every round."""
        seen = []
        for number in range(self.repeat):
            seen.append(measure())
            text = ", ".join(f"{name} {value:.4g}" for name, value in seen[-1].items())
            self.say(f"{title}, round {number + 1}: {text}")
        return {name: Samples(tuple(each[name] for each in seen)) for name in seen[0]}


def seconds(action: Callable[[], object]) -> float:
    """How long it takes. This process collects its garbage before, and not meanwhile."""
    gc.collect()
    gc.disable()
    try:
        begin = time.perf_counter()
        action()
        return time.perf_counter() - begin
    finally:
        gc.enable()


def percentile(values: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of 100 are not above (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, min(len(ordered) - 1, round(percent / 100 * len(ordered)) - 1))]
