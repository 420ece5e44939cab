"""Many tiny jobs: side by side, one after the other, fanned out and in again, on one worker and on several."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from titan_sdk.messages import JobSpec
from titan_test_suite.benchmarks import yardsticks
from titan_test_suite.benchmarks.cluster import Cluster
from titan_test_suite.benchmarks.measuring import Goal, Result, Setting, seconds
from titan_test_suite.benchmarks.submitting import Script, check_logs, run_dag, run_each

TINY_PYTHON: Final = "import sys\n\nprint('hello from', *sys.argv[1:])\n"
TINY_SHELL: Final = 'echo "hello from $1"\n'
WARM_UP: Final = 16
"""Jobs before the first measured one: the script is on the worker then, and every slot has run it."""

_rounds = itertools.count()


class Crowd:
    """Runs the same tiny script many times on a cluster, each a submission of its own."""

    def __init__(self, cluster: Cluster, source: str, file: str, **fields: Any) -> None:
        self._submitter = cluster.client()
        self._waiter = cluster.client()
        self._script = Script(self._submitter, source, file)
        self._fields = fields
        self.run(WARM_UP)

    def run(self, count: int) -> float:
        """Seconds from the first submission to the last durable result, with every log at the master."""
        name = f"round{next(_rounds)}"
        specs = [self._script.job(f"{name}-{n}", args=(str(n),), **self._fields) for n in range(count)]
        infos: list[Any] = []
        took = seconds(lambda: infos.extend(run_each(self._submitter, self._waiter, specs)))
        check_logs(infos)
        return took


def python(setting: Setting) -> list[Result]:
    """Many tiny Python scripts, forked from the warm interpreter, and with an interpreter of their own each."""
    count = setting.size(300, 20)
    with setting.cluster("python") as cluster:
        warm = Crowd(cluster, TINY_PYTHON, "tiny.py")
        fresh = Crowd(cluster, TINY_PYTHON, "tiny.py", fresh=True)
        script = _file(cluster, "tiny.py", TINY_PYTHON)
        seen = setting.interleaved(
            f"{count} Python scripts",
            {
                "xargs": lambda: yardsticks.xargs(cluster.root, yardsticks.PYTHON, script, count),
                "warm": lambda: warm.run(count),
                "fresh": lambda: fresh.run(count),
            },
        )
    beside = "xargs -P4 python -u"
    return [
        Result("python", f"{count} tiny Python scripts", "s", seen["warm"], seen["xargs"], beside, Goal("ratio", 4)),
        Result("python", "the same, each exec'd", "s", seen["fresh"], seen["xargs"], beside, Goal("ratio", 0.95)),
    ]


def shell(setting: Setting) -> list[Result]:
    count = setting.size(300, 20)
    with setting.cluster("shell") as cluster:
        crowd = Crowd(cluster, TINY_SHELL, "tiny.sh")
        script = _file(cluster, "tiny.sh", TINY_SHELL)
        seen = setting.interleaved(
            f"{count} shell scripts",
            {
                "xargs": lambda: yardsticks.xargs(cluster.root, yardsticks.SHELL, script, count),
                "ours": lambda: crowd.run(count),
            },
        )
    what = f"{count} tiny shell scripts"
    return [Result("shell", what, "s", seen["ours"], seen["xargs"], "xargs -P4 sh", Goal("ratio", 1.2))]


def workers(setting: Setting) -> list[Result]:
    """The crowd of Python scripts on two and on four workers, as many slots for xargs."""
    results = []
    for number in (2, 4):
        count = setting.size(300, 20)
        slots = number * yardsticks.SLOTS
        with setting.cluster(f"workers-{number}", number) as cluster:
            crowd = Crowd(cluster, TINY_PYTHON, "tiny.py")
            script = _file(cluster, "tiny.py", TINY_PYTHON)
            seen = setting.interleaved(
                f"{count} Python scripts on {number} workers",
                {
                    "xargs": _xargs(cluster, script, count, slots),
                    "ours": _crowd(crowd, count),
                },
            )
        what = f"{count} tiny Python scripts, {number} workers"
        results.append(Result("workers", what, "s", seen["ours"], seen["xargs"], f"xargs -P{slots} python -u"))
    return results


def fan_out(setting: Setting) -> list[Result]:
    """One job, then many at once, then one that waits for all; against xargs for each of the three stages."""
    results = []
    with setting.cluster("fan-out") as cluster:
        client = cluster.client()
        job = Script(client, TINY_PYTHON).job
        path = _file(cluster, "tiny.py", TINY_PYTHON)
        run_dag(client, "warm-up", list(_diamond(job, WARM_UP)))
        for width in (20,) if setting.quick else (100, 200, 1000):
            seen = setting.interleaved(
                f"fan-out of {width}",
                {
                    "xargs": _staged(cluster, path, width),
                    "ours": _dag(cluster, lambda width=width: list(_diamond(job, width))),  # type: ignore[misc]
                },
            )
            goal = Goal("ratio", 4) if width == 200 else None
            what = f"fan-out 1 -> {width} -> 1"
            results.append(Result("fan-out", what, "s", seen["ours"], seen["xargs"], "xargs -P4, stage by stage", goal))
    return results


def chain(setting: Setting) -> list[Result]:
    """Jobs that each wait for the one before: what a step costs when nothing can overlap."""
    length = setting.size(50, 5)
    with setting.cluster("chain") as cluster:
        job = Script(cluster.client(), TINY_PYTHON).job
        path = _file(cluster, "tiny.py", TINY_PYTHON)

        def links() -> list[JobSpec]:
            return [job(f"job-{n}", parents=(f"job-{n - 1}",) if n else ()) for n in range(length)]

        seen = setting.interleaved(
            f"chain of {length}",
            {"xargs": _xargs(cluster, path, length, 1), "ours": _dag(cluster, links)},
        )
    what = f"a chain of {length} Python scripts"
    return [Result("chain", what, "s", seen["ours"], seen["xargs"], "one after the other by xargs")]


# --- parts ------------------------------------------------------------------------------------------------------------


def _diamond(job: Callable[..., JobSpec], width: int) -> Iterator[JobSpec]:
    middle = [f"middle-{n}" for n in range(width)]
    yield job("first")
    for name in middle:
        yield job(name, parents=("first",))
    yield job("last", parents=tuple(middle))


def _dag(cluster: Cluster, specs: Callable[[], list[JobSpec]]) -> Callable[[], float]:
    client = cluster.client()

    def measure() -> float:
        made = specs()
        return seconds(lambda: run_dag(client, "dag", made))

    return measure


def _staged(cluster: Cluster, script: Path, width: int) -> Callable[[], float]:
    def measure() -> float:
        return sum(yardsticks.xargs(cluster.root, yardsticks.PYTHON, script, count) for count in (1, width, 1))

    return measure


def _xargs(cluster: Cluster, script: Path, count: int, slots: int) -> Callable[[], float]:
    return lambda: yardsticks.xargs(cluster.root, yardsticks.PYTHON, script, count, slots)


def _crowd(crowd: Crowd, count: int) -> Callable[[], float]:
    return lambda: crowd.run(count)


def _file(cluster: Cluster, name: str, source: str) -> Path:
    path = cluster.root / name
    path.write_text(source)
    return path
