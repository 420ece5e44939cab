"""A client of the original dialect: text, a connection for each request, asking again until a job has ended."""

from __future__ import annotations

import base64
import itertools
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Final

from titan_sdk.protocol import Opcode
from titan_test_suite.benchmarks import yardsticks
from titan_test_suite.benchmarks.cluster import Cluster
from titan_test_suite.benchmarks.jobs import TINY_PYTHON, TINY_SHELL, WARM_UP
from titan_test_suite.benchmarks.measuring import Goal, Result, Samples, Setting, percentile, seconds
from titan_test_suite.benchmarks.submitting import DEADLINE_S, JobWentWrong

ASK_AGAIN_S: Final = 0.005
"""Pause before the state of a job that has not ended is asked for once more."""
_HEADER: Final = struct.Struct(">BBBBI")

_numbers = itertools.count()


class ClassicClient:
    """Sends and reads the bytes of PROTOCOL.md by itself: nothing of it is ours but the numbers of the opcodes."""

    def __init__(self, port: int) -> None:
        self._address = ("127.0.0.1", port)

    def ask(self, opcode: Opcode, text: str = "") -> str:
        """One request on a connection of its own; the text of its reply.

        Raises:
            JobWentWrong: the master refuses it.
        """
        payload = text.encode()
        with socket.create_connection(self._address) as sock:
            sock.sendall(_HEADER.pack(1, opcode, 0, 0, len(payload)) + payload)
            with sock.makefile("rb") as stream:
                _, answer, _, _, size = _HEADER.unpack(stream.read(_HEADER.size))
                reply = stream.read(size).decode()
        if answer == Opcode.ERROR:
            raise JobWentWrong(f"{opcode!r}: {reply}")
        return reply

    def finish(self, ids: Sequence[str]) -> None:
        """Wait for the jobs, one after the other, and fetch their logs.

        Raises:
            JobWentWrong: one did not complete, or the master has nothing of its log.
        """
        deadline = time.monotonic() + DEADLINE_S
        for each in ids:
            while (state := self.ask(Opcode.GET_JOB_STATUS, each)) in ("PENDING", "RUNNING"):
                if time.monotonic() > deadline:
                    raise JobWentWrong(f"{each} is still {state}")
                time.sleep(ASK_AGAIN_S)
            if state != "COMPLETED":
                raise JobWentWrong(f"{each} is {state}")
            if "hello from" not in self.ask(Opcode.GET_LOGS, each):
                raise JobWentWrong(f"the master has nothing of the log of {each}")


class ClassicCrowd:
    """The same tiny script many times, its content inside every line."""

    def __init__(self, cluster: Cluster, source: str, file: str) -> None:
        self._client = ClassicClient(cluster.port)
        self._file = file
        self._content = base64.b64encode(source.encode()).decode()
        self.each(WARM_UP)

    def each(self, count: int) -> float:
        """Seconds for as many SUBMIT_JOBs, until every job has ended and its log was fetched."""
        ids = self._ids(count)

        def run() -> None:
            for number, each in enumerate(ids):
                self._client.ask(Opcode.SUBMIT_JOB, f"{each}|{self._body(number)}|1|0")
            self._client.finish(ids)

        return seconds(run)

    def dag(self, count: int) -> float:
        """The same with one SUBMIT_DAG of 1 -> count - 2 -> 1."""
        first, *middle, last = ids = self._ids(count)

        def run() -> None:
            lines = [f"{first}|{self._body(0)}|1|0|[]"]
            lines += [f"{each}|{self._body(number)}|1|0|[{first}]" for number, each in enumerate(middle, 1)]
            lines.append(f"{last}|{self._body(count - 1)}|1|0|[{','.join(middle)}]")
            self._client.ask(Opcode.SUBMIT_DAG, ";".join(lines))
            self._client.finish(ids)

        return seconds(run)

    def _ids(self, count: int) -> list[str]:
        name = f"classic{next(_numbers)}"
        return [f"{name}-{number}" for number in range(count)]

    def _body(self, number: int) -> str:
        return f"RUN_PAYLOAD|{self._file}|{number}|{self._content}|GENERAL"


def classic(setting: Setting) -> list[Result]:
    """Many tiny jobs by a classic client, and what a classic request costs."""
    return [*_crowds(setting), *_round_trips(setting)]


def _crowds(setting: Setting) -> list[Result]:
    count = setting.size(300, 20)
    results = []
    with setting.cluster("classic") as cluster:
        for language, source, command, limit in (
            ("Python", TINY_PYTHON, yardsticks.PYTHON, 4.0),
            ("shell", TINY_SHELL, yardsticks.SHELL, 1.2),
        ):
            file = "tiny.py" if language == "Python" else "tiny.sh"
            crowd = ClassicCrowd(cluster, source, file)
            script = cluster.root / file
            script.write_text(source)
            seen = setting.interleaved(
                f"{count} {language} scripts, classic",
                {
                    "xargs": _xargs(cluster, command, script, count),
                    "each": _part(crowd.each, count),
                    "dag": _part(crowd.dag, count),
                },
            )
            beside = f"xargs -P4 {'python -u' if language == 'Python' else 'sh'}"
            for part, what in (("each", "a classic SUBMIT_JOB each"), ("dag", "one classic SUBMIT_DAG")):
                text = f"{count} tiny {language} scripts, {what}"
                results.append(Result("classic", text, "s", seen[part], seen["xargs"], beside, Goal("ratio", limit)))
    return results


def _round_trips(setting: Setting) -> list[Result]:
    count = setting.size(1000, 50)
    others = setting.size(4000, 100)
    with setting.cluster("classic-status") as cluster:
        client = ClassicClient(cluster.port)
        crowd = ClassicCrowd(cluster, TINY_PYTHON, "tiny.py")
        crowd.each(1)

        def ours() -> float:
            return percentile([seconds(lambda: client.ask(Opcode.GET_JOB_STATUS, "asked")) for _ in range(count)], 50)

        def crowded() -> float:
            with standing_connections(others):
                return ours()

        seen = setting.interleaved(
            "classic status",
            {
                "echo": lambda: percentile(yardsticks.echo_connections(count), 50),
                "ours": ours,
                "crowded": crowded,
            },
        )
    echo = _milliseconds(seen["echo"])
    beside = "TCP echo, a connection each"
    what = "classic status request, a connection each, p50"
    return [
        Result("classic", what, "ms", _milliseconds(seen["ours"]), echo, beside),
        Result(
            "classic", f"the same beside {others} other sockets", "ms", _milliseconds(seen["crowded"]), echo, beside
        ),
    ]


@contextmanager
def standing_connections(sockets: int) -> Iterator[None]:
    """As many sockets of this process, connected with each other over loopback."""
    with ExitStack() as stack, socket.create_server(("127.0.0.1", 0), backlog=64) as server:
        for _ in range(sockets // 2):
            stack.enter_context(socket.create_connection(server.getsockname()))
            stack.enter_context(server.accept()[0])
        yield


def _milliseconds(samples: Samples) -> Samples:
    return Samples(tuple(value * 1000 for value in samples.values))


def _part(measure: Callable[[int], float], count: int) -> Callable[[], float]:
    return lambda: measure(count)


def _xargs(cluster: Cluster, command: Sequence[str], script: Path, count: int) -> Callable[[], float]:
    return lambda: yardsticks.xargs(cluster.root, command, script, count)
