"""The worker program: ``TitanWorker.py [port] [master_host] [master_port] [capabilities] [permanent] [options]``.

Exit codes: 0 after it was asked to end, 2 when it cannot begin or the master refuses it, 70 after a failure inside.
"""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1] / "titan_sdk")
    import run_as_script

    run_as_script.prepare()

import logging
import queue
import signal
import threading
from collections.abc import Sequence

from titan_core import __version__, garbage
from titan_core.config import load_worker
from titan_core.protocol.worker_node import WorkerNode
from titan_sdk.errors import ConfigError

log = logging.getLogger("titan.worker")

DRAINED = "drained"


class Refused(str):
    """A reason to end at once, with exit code 2."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a worker until it is told to end; its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "--version" in argv:
        print(f"Titan {__version__}")
        return 0
    # Signals, the master and the parts of the worker all speak to the main thread through this; a SimpleQueue may be
    # put to from a signal handler.
    events: queue.SimpleQueue[str] = queue.SimpleQueue()
    try:
        settings = load_worker(argv)
        logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)-7s %(message)s")
        node = WorkerNode(
            settings,
            program=pathlib.Path(__file__).resolve(),
            on_leave=events.put,
            on_refused=lambda reason: events.put(Refused(reason)),
        )
        node.open()
    except ConfigError as error:
        print(f"TitanWorker: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _: events.put(signal.Signals(received).name))
    node.start()
    garbage.settle()
    print(f"Titan worker ready on {settings.host}:{node.port}", flush=True)
    reason = events.get()
    code = 2 if isinstance(reason, Refused) else 0
    if code:
        print(f"TitanWorker: {reason}", file=sys.stderr)
    else:
        _drain(node, reason, events)
    node.stop()
    log.info("stopped")
    return code


def _drain(node: WorkerNode, reason: str, events: queue.SimpleQueue[str]) -> None:
    """Drain on a thread of its own, while this one listens for whoever is in a hurry."""

    def drain() -> None:
        try:
            node.drain(reason)
        finally:
            events.put(DRAINED)

    thread = threading.Thread(target=drain, name="drain")
    thread.start()
    while events.get() != DRAINED:
        node.hurry()
    thread.join()


if __name__ == "__main__":
    sys.exit(main())
