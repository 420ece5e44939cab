"""``titan-dev up``: a cluster in the foreground. One Ctrl-C drains it, a second one makes it hurry."""

from __future__ import annotations

import argparse
import os
import secrets
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from titan_dev.environment import ROOT
from titan_dev.processes import Cluster, Dashboard, Painter, is_listening

CLUSTER_LOG = ROOT / "titan_data" / "cluster.log"
_MASTER_PORT = 9090
"""Where the command lines and the SDK look for the master when TITAN_PORT does not say otherwise."""
DRAIN_S = 30.0
"""Seconds that jobs have to finish after a Ctrl-C; a worker then ends those that run and hands them back."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=_count, default=2, metavar="N", help="how many workers (default 2)")
    parser.add_argument("--slots", type=_count, default=4, metavar="N", help="slots of each worker (default 4)")
    parser.add_argument("--port", type=_port, default=_MASTER_PORT, help=f"the master's port (default {_MASTER_PORT})")
    parser.add_argument(
        "--worker-port", type=_port, default=8080, metavar="PORT", help="first worker's port, the next ones follow"
    )
    parser.add_argument("--capability", default="GENERAL", help="of all workers, like GENERAL,GPU (default GENERAL)")
    parser.add_argument("--dashboard-port", type=_port, default=5000, metavar="PORT", help="its port (default 5000)")
    parser.add_argument("--no-dashboard", action="store_true", help="start no dashboard")
    parser.add_argument(
        "--drain", type=float, default=DRAIN_S, metavar="S", help=f"seconds to drain (default {DRAIN_S:g})"
    )
    parser.add_argument("--data", type=Path, metavar="DIR", help="folder of titan_data, titan_workspace and perm_files")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """0 after a clean stop, 1 when a process died, 2 when a port is taken."""
    worker_ports = [arguments.worker_port + number for number in range(arguments.workers)]
    dashboard = None
    if not arguments.no_dashboard:
        dashboard = Dashboard(arguments.dashboard_port, secrets.token_urlsafe(24))
    for port in (arguments.port, *worker_ports, *([dashboard.port] if dashboard else [])):
        if port > 65535 or is_listening(port):
            print(f"titan-dev: port {port} is {'out of range' if port > 65535 else 'in use'}", file=sys.stderr)
            return 2
    data = (arguments.data or ROOT).absolute()
    painter = Painter(Cluster.names(arguments.workers, bool(dashboard)), data / "titan_data" / CLUSTER_LOG.name)
    cluster = Cluster(
        arguments.port,
        worker_ports,
        dict(os.environ),
        painter.line,
        ["--data-dir", str(data / "titan_data"), "--perm-files", str(data / "perm_files")],
        [
            *("--workspace", str(data / "titan_workspace"), "--slots", str(arguments.slots)),
            *("--capabilities", arguments.capability, "--drain-seconds", str(arguments.drain)),
        ],
        dashboard,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: cluster.events.put(None))
    code = 0
    try:
        started = cluster.start()
        if started:
            painter.line("titan-dev", f"the master listens at 127.0.0.1:{arguments.port}; Ctrl-C stops the cluster")
            if arguments.port != _MASTER_PORT:
                painter.line("titan-dev", f"for the shell and the other programs: export TITAN_PORT={arguments.port}")
            if dashboard:
                address = f"http://127.0.0.1:{dashboard.port}/login?once={dashboard.login_code}"
                painter.line("titan-dev", f"the dashboard, logged in (the address works once): {address}")
        event = cluster.events.get()
        workers = arguments.workers
        while started and event is not None and event.name.startswith("worker") and workers > 1:
            workers -= 1
            painter.line("titan-dev", f"{event.name} ended with code {event.code}; the others go on")
            event = cluster.events.get()
        if event is not None:
            painter.line("titan-dev", f"{event.name} ended with code {event.code}; stopping the others")
            code = 1
        else:
            painter.line("titan-dev", "stopping: running jobs may finish; Ctrl-C again to hurry")
    except TimeoutError as error:
        painter.line("titan-dev", str(error))
        code = 1
    if not cluster.stop(arguments.drain + 15.0):
        painter.line("titan-dev", "some processes did not end by themselves and were killed")
        code = 1
    painter.line("titan-dev", "stopped")
    painter.close()
    return code


def _count(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to 64")
    return int(text)


def _port(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not a port from 1 to 65535")
    return int(text)
