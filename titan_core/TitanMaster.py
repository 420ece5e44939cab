"""The master program: ``TitanMaster.py [--host HOST] [--port PORT] [--data-dir DIR] [--perm-files DIR] ...``

Exit codes: 0 after it was asked to end, 2 when it cannot begin, 70 after a failure inside.
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
from collections.abc import Sequence

from titan_core import __version__, garbage
from titan_core.config import load_master
from titan_core.protocol.master_node import MasterNode
from titan_core.storage.store import StoreError
from titan_sdk.errors import ConfigError

log = logging.getLogger("titan.master")


def main(argv: Sequence[str] | None = None) -> int:
    """Run a master until it is told to end; its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "--version" in argv:
        print(f"Titan {__version__}")
        return 0
    # A SimpleQueue may be put to from a signal handler.
    signals: queue.SimpleQueue[str] = queue.SimpleQueue()
    try:
        settings = load_master(argv)
        logging.basicConfig(level=settings.log_level, format="%(asctime)s %(levelname)-7s %(message)s")
        node = MasterNode(settings)
        node.open()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda received, _: signals.put(signal.Signals(received).name))
        node.start()
        garbage.settle()
    except (ConfigError, StoreError) as error:
        print(f"TitanMaster: {error}", file=sys.stderr)
        return 2
    print(f"Titan master ready on {settings.host}:{node.port}, data in {settings.data_dir}", flush=True)
    log.info("stopping: %s", signals.get())
    in_time = node.stop()
    log.info("stopped")
    return 0 if in_time else 70


if __name__ == "__main__":
    sys.exit(main())
