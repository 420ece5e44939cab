"""``bench.py [--only NAME] [--json] [--repeat N] [--quick]``: measure Titan, each line beside a yardstick."""

from __future__ import annotations

import argparse
import pathlib
import signal
import sys
import tempfile
from collections.abc import Callable, Sequence

if __name__ == "__main__":
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2])

from rich.console import Console

from titan_test_suite.benchmarks import classic, jobs, latency, logs, scale, simulation
from titan_test_suite.benchmarks.cluster import ROOT
from titan_test_suite.benchmarks.measuring import Result, Setting
from titan_test_suite.benchmarks.report import as_json, show

BENCHES: dict[str, Callable[[Setting], list[Result]]] = {
    "python": jobs.python,
    "shell": jobs.shell,
    "workers": jobs.workers,
    "fan-out": jobs.fan_out,
    "chain": jobs.chain,
    "classic": classic.classic,
    "start": latency.start,
    "status": latency.status,
    "submit": latency.submit,
    "delayed": latency.delayed,
    "queue": scale.queue,
    "dag": scale.dag,
    "restart": scale.restart,
    "flood": logs.flood,
    "logs": logs.throughput,
    "simulation": simulation.simulation,
}
"""Name -> what measures it, in the order of measuring."""


def parser() -> argparse.ArgumentParser:
    result = argparse.ArgumentParser(prog="bench.py", description=__doc__)
    result.add_argument(
        "--only",
        action="append",
        choices=list(BENCHES),
        metavar="NAME",
        help=f"measure this alone; may be repeated: {', '.join(BENCHES)}",
    )
    result.add_argument("--json", action="store_true", help="print JSON instead of a table")
    result.add_argument("--repeat", type=_count, metavar="N", help="rounds (default 3, with --quick 1)")
    result.add_argument("--quick", action="store_true", help="small sizes, to see that everything works")
    result.add_argument(
        "--folder",
        type=pathlib.Path,
        default=ROOT / "titan_data",
        help="where to put the clusters, on the disk to measure (default titan_data)",
    )
    return result


def main(argv: Sequence[str] | None = None) -> int:
    """0 when everything was measured, whatever the numbers are."""
    options = parser().parse_args(argv)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    options.folder.mkdir(parents=True, exist_ok=True)
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="bench-", dir=options.folder.absolute()) as folder:
        setting = Setting(options.repeat or (1 if options.quick else 3), options.quick, pathlib.Path(folder), _say)
        try:
            for name in options.only or BENCHES:
                results += BENCHES[name](setting)
        except KeyboardInterrupt:
            _say("interrupted")
            return 130
        finally:
            if results and not options.json:
                show(results, setting, Console())
    if options.json:
        print(as_json(results, setting))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("at least 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
