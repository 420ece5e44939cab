"""``titan-dev demo``: the ETL over the standard library's sources, on a cluster of its own, from start to stop."""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from titan_dev.environment import ROOT
from titan_dev.processes import Cluster, Exited, free_ports

PIPELINE = "titan_test_suite/examples/yaml_based_static_tests/stdlib_etl"
RESULT = ROOT / "titan_data" / "demo"
LAST_LINES = 40
"""Of the cluster's output, shown when the demo fails."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--report", type=Path, default=RESULT, metavar="DIR", help="folder for the report (default titan_data/demo)"
    )
    parser.add_argument("--workers", type=int, choices=range(1, 9), default=2, metavar="N", help="1 to 8 (default 2)")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """0 when every job completed and the cluster stopped cleanly."""
    with tempfile.TemporaryDirectory(prefix="titan-demo-") as name:
        return _run(Path(name), arguments.workers, arguments.report.absolute())


def _run(folder: Path, workers: int, report: Path) -> int:
    port, *worker_ports = free_ports(1 + workers)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TITAN_")}
    environment |= {"TITAN_HOME": str(folder / "home"), "TITAN_HOST": "127.0.0.1", "TITAN_PORT": str(port)}
    output: collections.deque[str] = collections.deque(maxlen=LAST_LINES)
    cluster = Cluster(
        port,
        worker_ports,
        environment,
        lambda name, line: output.append(f"{name} | {line}"),
        ["--data-dir", str(folder / "titan_data"), "--perm-files", str(folder / "perm_files")],
        ["--workspace", str(folder / "titan_workspace")],
    )
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    code = 1
    try:
        print(f"Starting a master at 127.0.0.1:{port} and {workers} workers with 4 slots each")
        if cluster.start():
            code = _deploy(environment)
    except TimeoutError as error:
        print(error, file=sys.stderr)
    except KeyboardInterrupt:
        print("\nInterrupted", file=sys.stderr)
        code = 130
        cluster.events.put(None)
    signal.signal(signal.SIGINT, lambda *_: cluster.events.put(None))
    died = _ended(cluster)
    print("Stopping the cluster", flush=True)
    clean = cluster.stop(20.0)
    if code == 0:
        code = _show(folder / "titan_workspace" / "shared", report)
    if died or not clean or code not in (0, 130):
        if died:
            print(f"{died.name} ended with code {died.code}", file=sys.stderr)
        print("The cluster's last lines:", *output, sep="\n", file=sys.stderr)
        return code or 1
    return code


def _deploy(environment: dict[str, str]) -> int:
    command = ["titan_sdk/titan_cli.py", "deploy", PIPELINE, "--wait"]
    print(f"$ python {' '.join(command)}", flush=True)
    # In our process group: a Ctrl-C reaches it as well, and it ends with us.
    return subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode


def _ended(cluster: Cluster) -> Exited | None:
    """The first process of the cluster that ended by itself, if one did."""
    while not cluster.events.empty():
        event = cluster.events.get()
        if event is not None:
            return event
    return None


def _show(shared: Path, report: Path) -> int:
    """Print the ranking, and keep the report where it outlives the demo's folder."""
    rankings = list(shared.glob("*/ranking.txt"))
    if len(rankings) != 1 or not (rankings[0].parent / "report.html").exists():
        print(f"The pipeline completed, but left no report in {shared}", file=sys.stderr)
        return 1
    shutil.copytree(rankings[0].parent, report, dirs_exist_ok=True)
    print("\nThe most complex functions of this Python's standard library:\n")
    print(rankings[0].read_text(encoding="utf-8"))
    print(f"The report, with its charts: {report / 'report.html'}")
    return 0
