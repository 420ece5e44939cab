"""What the black-box tests share: programs that check a running cluster from outside, with the SDK alone.

Each is run as ``python titan_test_suite/pytests/NAME_test.py [--host HOST] [--port PORT]``. Exit codes: 0 all is as it
should be, 1 something is not, 2 wrong usage or no master.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import textwrap
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from titan_sdk import ConnectFailed, TitanClient, TitanError, TitanJob

FAILED: Final = 1
NOT_DONE: Final = 2
TIMEOUT_S: Final = 120.0
MAX_SHOWN: Final = 10


class Box:
    """One test of one cluster: makes jobs with ids of its own, and keeps count of what is not as it should be.

    Attributes:
        mark: part of every id, so that a test may run again, and beside another one.
        timeout: seconds that one step may take.
    """

    def __init__(self, client: TitanClient, folder: Path, timeout: float) -> None:
        self.client = client
        self.timeout = timeout
        self.mark = uuid.uuid4().hex[:6]
        self.failures = 0
        self._folder = folder
        self._begin = time.monotonic()

    def name(self, name: str) -> str:
        return f"{name}-{self.mark}"

    def job(self, name: str, source: str, **fields: Any) -> TitanJob:
        """A job of that Python source; ``parents`` are names too."""
        path = self._folder / f"{name}.py"
        path.write_text(textwrap.dedent(source), encoding="utf-8")
        fields["parents"] = [self.name(parent) for parent in fields.get("parents", ())]
        return TitanJob(self.name(name), path, **fields)

    def say(self, text: str) -> None:
        print(f"{time.monotonic() - self._begin:7.2f} s  {text}", flush=True)  # noqa: T201 - a program

    def check(self, what: str, good: bool, *details: object) -> bool:
        """Say whether something is as it should be; when it is not, with details."""
        self.say(f"{'ok    ' if good else 'FAILED'}  {what}")
        if not good:
            self.failures += 1
            for detail in details[:MAX_SHOWN]:
                self.say(f"          {detail}")
        return good

    def slots(self) -> int:
        """Of all workers that take ordinary jobs."""
        workers = self.client.workers()
        return sum(worker.slots for worker in workers if worker.state == "alive" and "GENERAL" in worker.capabilities)


def main(test: Callable[[Box], None], about: str | None, argv: Sequence[str] | None = None) -> int:
    """Run a test as a program; its exit code."""
    parser = argparse.ArgumentParser(description=(about or "").partition("\n")[0], allow_abbrev=False)
    parser.add_argument("--host", help="the master's address (default: TITAN_HOST, else 127.0.0.1)")
    parser.add_argument("--port", type=int, help="the master's port (default: TITAN_PORT, else 9090)")
    parser.add_argument("--timeout", type=float, default=TIMEOUT_S, help="seconds for one step (default: 120)")
    given = parser.parse_args(argv)
    try:
        with TitanClient(given.host, given.port) as client, tempfile.TemporaryDirectory() as folder:
            box = Box(client, Path(folder), given.timeout)
            slots = box.slots()
            box.say(f"{client.host}:{client.port}: {len(client.workers())} workers, {slots} slots")
            if not slots:
                box.say("no worker is there to run anything; ./titan-dev up starts one")
                return NOT_DONE
            try:
                test(box)
            except TitanError as error:
                box.check(f"{type(error).__name__}: {error}", False)
            box.say(f"{box.failures} failed" if box.failures else "all is well")
            return FAILED if box.failures else 0
    except ConnectFailed as error:
        print(f"error: no master to ask ({error})", file=sys.stderr)  # noqa: T201
        return NOT_DONE
    except TitanError as error:
        print(f"error: {error}", file=sys.stderr)  # noqa: T201
        return NOT_DONE
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201
        return 130
