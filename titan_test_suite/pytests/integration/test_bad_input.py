"""Bad input of every kind on a real cluster: each refused with a clear error, at the cost of nobody else.

Everything is sent over raw sockets; what is well-formed around the bad part is written with struct and msgspec. Before
the module ends the same cluster, master and worker still the first ones, runs a job.
"""

from __future__ import annotations

import base64
import io
import json
import os
import socket
import stat
import struct
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from titan_sdk.errors import SubmissionRefused
from titan_sdk.messages import FlowSpec, RunOptions
from titan_test_suite.pytests.classic_peers import wire
from titan_test_suite.pytests.cluster import ROOT, Cluster, Program, wait_until

FRAME_S = 1.0
"""The master's frame_seconds in these tests."""
HELLO, SUBMIT_RUN, RUN_FILE, DEPLOY, GET_JOB, GET_LOGS, UPLOAD = 0x80, 0x04, 0x06, 0x05, 0x55, 0x16, 0x53
DEREGISTER = 0x86
FETCH, CANCEL, STOP, KV_SET, REGISTER, LIST_JOBS, LOG_PIECE, REPORT = 0x54, 0x56, 0x07, 0x60, 0x02, 0x82, 0x17, 0x12
STRUCTURED = 1
MIB = 1024 * 1024


def b64(data: str | bytes) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


# --- the cluster ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master that loses patience soon, and a worker. At the end it must work as on its first day."""
    cluster = Cluster(tmp_path_factory.mktemp("bad"))
    try:
        cluster.start_master("--frame-seconds", str(FRAME_S))
        cluster.start_worker()
        key = cluster.run("print('before')", id="before")
        assert cluster.wait_state(key).state == "COMPLETED"
        yield cluster
        still_works(cluster, "after")
        assert cluster.info(key).state == "COMPLETED", "nothing was lost"
        assert cluster.log(key) == b"before\n"
        assert all(program.running for program in cluster.programs)
        assert "Traceback" not in cluster.programs[0].log_text()
    except BaseException:
        print(cluster.logs())  # noqa: T201 - pytest shows it with the failed teardown
        raise
    finally:
        cluster.stop()


@pytest.fixture
def master(cluster: Cluster) -> Iterator[tuple[str, int]]:
    """The master's address. The test must leave the queue as it found it."""
    before = [worker.worker_id for worker in cluster.workers()]
    yield ("127.0.0.1", cluster.port)
    assert [worker.worker_id for worker in cluster.workers() if worker.state == "alive"] == before


def still_works(cluster: Cluster, job_id: str) -> None:
    key = cluster.run("print('well')", id=job_id)
    assert cluster.wait_state(key).state == "COMPLETED"
    assert cluster.log(key) == b"well\n"


def rss(program: Program) -> int:
    return int(psutil.Process(program.pid).memory_info().rss)


def peak(program: Program) -> int:
    """The most memory that the program has ever had, in bytes."""
    status = Path(f"/proc/{program.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


class Structured:
    """A structured peer made of a socket: sends what it is told to, and reads frames."""

    def __init__(self, address: tuple[str, int], token: str | None = None, role: str = "client") -> None:
        self._sock = socket.create_connection(address, timeout=20)
        if token is not None:
            opcode, answer = self.ask(HELLO, {"token": token, "role": role})
            assert opcode == 0x52, answer

    def __enter__(self) -> Structured:
        return self

    def __exit__(self, *_: object) -> None:
        self._sock.close()

    def send(self, data: bytes) -> None:
        self._sock.sendall(data)

    def read(self) -> tuple[int, int, bytes] | None:
        """Opcode, correlation id and payload of the next frame; None at the end."""
        header = wire.read_exactly(self._sock, 8)
        if not header:
            return None
        version, opcode, _, spare, length = struct.unpack(">BBBBI", header)
        assert version == 1
        return opcode, spare, wire.read_exactly(self._sock, length)

    def ask(self, opcode: int, message: Any, spare: int = 7) -> tuple[int, dict[str, Any]]:
        """The answer to a request: its opcode and its map. ``message``: bytes are sent as they are."""
        payload = message if isinstance(message, bytes) else msgspec.msgpack.encode(message)
        self.send(wire.frame(opcode, payload, flags=STRUCTURED, spare=spare))
        frame = self.read()
        assert frame is not None, "closed without an answer"
        assert frame[1] == spare
        return frame[0], msgspec.msgpack.decode(frame[2])

    def refusal(self, opcode: int, message: Any) -> str:
        """The text of the error that a request is answered with."""
        answer, fields = self.ask(opcode, message)
        assert answer == 0x51, fields
        text: str = fields["message"]
        assert "internal" not in text, text
        return " ".join([text, *(f"{each['where']}: {each['text']}" for each in fields.get("problems", []))])


@pytest.fixture
def peer(cluster: Cluster, master: tuple[str, int]) -> Iterator[Structured]:
    """A structured client that has said hello. After the test it is still served."""
    with Structured(master, cluster.token) as peer:
        yield peer
        assert peer.ask(LIST_JOBS, {})[0] == 0x52


def refused(address: tuple[str, int], opcode: int, payload: str | bytes) -> str:
    """The text of a classic refusal."""
    reply = wire.call(address, opcode, payload)
    assert reply.opcode == wire.ERROR, reply
    assert reply.text.startswith("ERROR"), reply
    assert "internal error" not in reply.text, reply
    return reply.text


# --- frames ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (wire.frame(wire.STATS, version=2), "protocol version 2"),
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "protocol version 71"),
        (b"\x00", "protocol version 0"),
        (wire.frame(wire.STATS, flags=0x80), "unknown flag bits 0x80"),
        (wire.frame(wire.STATS, flags=0x02), "unknown flag bits 0x02"),
        (wire.frame(HELLO, flags=0x05), "unknown flag bits 0x04"),
        (struct.pack(">BBBBI", 1, wire.STATS, 0, 0, 10 * MIB + 1), f"{10 * MIB + 1} bytes is over the limit"),
        (struct.pack(">BBBBI", 1, wire.STATS, 0, 0, 0xFFFFFFFF), "4294967295 bytes is over the limit"),
        (struct.pack(">BBBBI", 1, HELLO, 1, 0, 0xFFFFFFFF), "4294967295 bytes is over the limit"),
        (struct.pack(">BBBBI", 1, HELLO, 1, 0, MIB), f"{MIB} bytes is over the limit"),
    ],
)
def test_a_stream_that_is_none_of_ours_is_told_so_and_closed(master: tuple[str, int], data: bytes, text: str) -> None:
    received = wire.call_until_closed(master, data)
    version, opcode, flags, spare, length = struct.unpack(">BBBBI", received[:8])
    assert (version, opcode, flags, spare, length) == (1, 0x51, 0, 0, len(received) - 8)
    assert received[8:].decode().startswith("ERROR ")
    assert text in received[8:].decode()


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (wire.frame(LIST_JOBS, version=9, flags=STRUCTURED), "protocol version 9"),
        (wire.frame(LIST_JOBS, flags=0x41), "unknown flag bits 0x40"),
        (wire.frame(wire.STATS), "classic frame"),
        (struct.pack(">BBBBI", 1, LIST_JOBS, 1, 0, 0x7FFFFFFF), "over the limit"),
    ],
)
def test_a_structured_stream_that_breaks_later_is_closed_too(
    cluster: Cluster, master: tuple[str, int], data: bytes, text: str
) -> None:
    with Structured(master, cluster.token) as peer:
        peer.send(data)
        frame = peer.read()
        assert frame is not None and frame[0] == 0x51
        assert text in frame[2].decode()
        assert peer.read() is None


def test_an_announced_length_costs_no_memory(cluster: Cluster, master: tuple[str, int]) -> None:
    """Neither a refused one nor one within the limit of which nothing comes."""
    before = rss(cluster.programs[0])
    refused_ones = [wire.call_until_closed(master, struct.pack(">BBBBI", 1, 4, 0, 0, 2**31)) for _ in range(50)]
    assert all(b"over the limit" in data for data in refused_ones)
    waiting = [socket.create_connection(master, timeout=20) for _ in range(50)]
    try:
        for sock in waiting:
            sock.sendall(struct.pack(">BBBBI", 1, 4, 0, 0, 10 * MIB))
        assert rss(cluster.programs[0]) - before < 50 * MIB
    finally:
        for sock in waiting:
            sock.close()


@pytest.mark.parametrize("part", [b"\x01\x08\x00", wire.frame(wire.KV_SET, "k|" + "v" * 1000)[:500]])
def test_half_a_frame_and_silence(master: tuple[str, int], part: bytes) -> None:
    begin = time.monotonic()
    received = wire.call_until_closed(master, part)
    assert b"no whole frame within 1 s" in received
    assert FRAME_S * 0.9 < time.monotonic() - begin < FRAME_S + 5


def test_a_connection_that_says_nothing_is_closed(master: tuple[str, int]) -> None:
    assert wire.call_until_closed(master, b"") == b""


def test_half_a_structured_frame_and_silence(cluster: Cluster, master: tuple[str, int]) -> None:
    with Structured(master, cluster.token) as peer:
        peer.send(wire.frame(LIST_JOBS, b"\x80" * 100, flags=STRUCTURED)[:50])
        assert peer.read() is None


def test_single_bytes_do_not_hold_a_connection(master: tuple[str, int]) -> None:
    """The deadline is for the whole frame: bytes in between win no time."""
    frame = wire.frame(wire.KV_SET, "k|" + "v" * 100)
    begin = time.monotonic()
    with socket.create_connection(master, timeout=20) as sock:
        sock.settimeout(0.1)
        for number in range(len(frame)):
            try:
                sock.sendall(frame[number : number + 1])
                if sock.recv(1):
                    break
            except TimeoutError:
                continue
        else:
            raise AssertionError("the master waited for every byte")
    assert time.monotonic() - begin < FRAME_S + 5


# --- opcodes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("opcode", [0x00, 0x0E, 0x7F, 0xFF, wire.HEARTBEAT, wire.STAGE, wire.ACK, wire.ERROR])
def test_an_unknown_opcode_is_refused_and_the_connection_kept(master: tuple[str, int], opcode: int) -> None:
    with socket.create_connection(master, timeout=20) as sock:
        sock.sendall(wire.frame(opcode, "?"))
        reply = wire.read_frame(sock)
        assert reply is not None and reply.opcode == wire.ERROR
        assert reply.text == f"ERROR UNKNOWN_OPCODE 0x{opcode:02x}"
        sock.sendall(wire.frame(wire.KV_GET, "nothing"))
        reply = wire.read_frame(sock)
        assert reply is not None and reply.text == "NULL"


@pytest.mark.parametrize("opcode", [0x00, 0x0E, 0x7F, 0xFF, 0x0C, 0x87])
def test_an_unknown_structured_opcode_is_refused_and_the_connection_kept(peer: Structured, opcode: int) -> None:
    assert f"0x{opcode:02x}" in peer.refusal(opcode, {})


def test_what_a_worker_alone_may_say_needs_a_registration(cluster: Cluster, peer: Structured) -> None:
    lease = {"job": "before", "attempt": 1, "epoch": 1}
    assert "0x17" in peer.refusal(LOG_PIECE, {"lease": lease, "offset": 0, "data": b"x"})
    with Structured(("127.0.0.1", cluster.port), cluster.token, role="worker") as worker:
        assert "register first" in worker.refusal(LOG_PIECE, {"lease": lease, "offset": 0, "data": b"x"})
        assert "register first" in worker.refusal(REPORT, {"lease": lease, "outcome": "completed"})
        for field, value, text in (
            ("worker_id", "../up", "worker id"),
            ("port", 0, "port 0"),
            ("port", 65536, "port 65536"),
            ("slots", 0, "0 slots"),
            ("slots", 10**9, "slots"),
            ("capabilities", ["a b"], "capability"),
            ("host", "a\nb", "host"),
        ):
            good = {"worker_id": "w", "boot_id": "b", "port": 8080, "capabilities": ["GENERAL"], "slots": 1}
            assert text in worker.refusal(REGISTER, good | {field: value})


# --- payloads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "opcode", [wire.SUBMIT_DAG, wire.SUBMIT_JOB, wire.KV_SET, wire.UPLOAD_ASSET, wire.GET_JOB_STATUS, wire.RUN]
)
def test_text_that_is_not_utf8(master: tuple[str, int], opcode: int) -> None:
    assert "byte 2 is 0xff" in refused(master, opcode, b"a|\xff\xfe|b")


@pytest.mark.parametrize("payload", [b"", b"\xc1", b"\xff" * 100, b"\x81\xa4name", b"\x93\x01\x02\x03", b"\x91" * 5000])
def test_garbage_msgpack(peer: Structured, payload: bytes) -> None:
    assert "not a valid SubmitRun" in peer.refusal(SUBMIT_RUN, payload)


@pytest.mark.parametrize(
    ("opcode", "message", "field"),
    [
        (SUBMIT_RUN, {"jobs": []}, "`name`"),
        (SUBMIT_RUN, {"name": "x"}, "`jobs`"),
        (SUBMIT_RUN, {"name": "x", "jobs": [{"id": "a"}]}, "`file`"),
        (SUBMIT_RUN, {"name": "x", "jobs": [{"id": "a", "file": 3}]}, "$.jobs[0].file"),
        (UPLOAD, {"sha256": "0" * 64, "size": 1, "offset": 0}, "`data`"),
        (GET_JOB, {}, "`id`"),
        (KV_SET, {"key": "k"}, "`value`"),
        (KV_SET, {"key": "k", "value": 7}, "$.value"),
    ],
)
def test_a_field_that_is_missing_or_of_the_wrong_type_is_named(
    peer: Structured, opcode: int, message: object, field: str
) -> None:
    assert field in peer.refusal(opcode, message)


SCRIPT = b64("print(1)")


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("", "no jobs"),
        (";;", "no jobs"),
        ("nonsense", "no handler"),
        ("|||||", "without an id"),
        ("a|RUN_PAYLOAD", "wanted"),
        (f"a|RUN_PAYLOAD|f.py|x|{SCRIPT}|GENERAL|1|0|extra|more|[]", "wanted"),
        ("a|RUN_PAYLOAD|f.py||not base64!|GENERAL|1|0|[]", "base64"),
        (f"a|RUN_PAYLOAD|f.py|'open quote|{SCRIPT}|GENERAL|1|0|[]", "quotation"),
        (f"a|RUN_PAYLOAD|f.py||{SCRIPT}|GEN ERAL|1|0|[]", "capability"),
        (f"a|RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|high|0|[]", "fields"),
        (f"a|RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|1|-5|[]", "delay of -5"),
        (f"a|RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|1|{10**17}|[]", "delay"),
        (f"a|RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|1|0|[b", "bracket"),
        (f"a|RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|1|0|[b]", "parent 'DAG-b'"),
        (f"a|RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|1|0|[a]", "itself"),
        (f"a|RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|1|0|[b c/d]", "parent"),
        (f"a|PDF_CONVERT|{SCRIPT}|1|0|[]", "PDF_CONVERT"),
        (f"a|DEPLOY_PAYLOAD|f.py|{SCRIPT}|x|GENERAL|1|0|[]", "port"),
        (f"a|DEPLOY_PAYLOAD|f.py|{SCRIPT}|70000|GENERAL|1|0|[]", "port 70000"),
        (f"a|DEPLOY_PAYLOAD|f.py|{SCRIPT}|-1|GENERAL|1|0|[]", "port -1"),
        (f"a|DEPLOY_PAYLOAD|Worker.jar|{SCRIPT}|65536|GENERAL|1|0|[]", "port 65536"),
        ("a|RUN_ARCHIVE|project.tar/main.py||GENERAL|1|0|[]", "project.zip/path/entry.py"),
        ("a|RUN_ARCHIVE|nowhere.zip/main.py||GENERAL|1|0|[]", "nowhere.zip"),
        ("a|START_ARCHIVE_SERVICE|nowhere.zip/main.py||8080|GENERAL|1|0|[]", "nowhere.zip"),
        ("a|START_ARCHIVE_SERVICE|p.zip/main.py||99999|GENERAL|1|0|[]", "port 99999"),
    ],
)
def test_a_malformed_line_refuses_the_whole_dag_and_is_named(
    cluster: Cluster, master: tuple[str, int], line: str, text: str
) -> None:
    jobs = cluster.client
    before = jobs.call(_list_jobs()).total
    good = f"good|RUN_PAYLOAD|f.py||{SCRIPT}|NOWHERE|1|0|[]"
    if line.strip(";"):
        answer = refused(master, wire.SUBMIT_DAG, f"{good};{line}")
        assert "line 2" in answer
    else:
        answer = refused(master, wire.SUBMIT_DAG, line)
    assert text in answer
    assert wire.call(master, wire.GET_JOB_STATUS, "good").text == "NULL"
    assert jobs.call(_list_jobs()).total == before


def _list_jobs() -> Any:
    from titan_sdk.messages import ListJobs

    return ListJobs(limit=0)


def test_duplicates_and_cycles(master: tuple[str, int], peer: Structured) -> None:
    def line(name: str, parents: str) -> str:
        return f"{name}|RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|1|0|[{parents}]"

    assert "twice" in refused(master, wire.SUBMIT_DAG, f"{line('a', '')};{line('DAG-a', '')}")
    answer = refused(master, wire.SUBMIT_DAG, ";".join([line("a", "c"), line("b", "a"), line("c", "b"), line("d", "")]))
    assert "a cycle" in answer and "DAG-a waits for DAG-c" in answer
    jobs = [{"id": "a", "file": "f.py", "parents": ["b"]}, {"id": "b", "file": "f.py", "parents": ["a"]}]
    answer = peer.refusal(SUBMIT_RUN, {"name": "x", "jobs": [*jobs, jobs[0]]})
    assert "a cycle" in answer and "twice" in answer and "no content" in answer


@pytest.mark.parametrize(
    ("payload", "text"),
    [
        ("", "form"),
        ("||||", "form"),
        ("port", "port 'port' is not a whole number"),
        ("0||GENERAL||false", "port 0"),
        ("65536||GENERAL||false", "port 65536"),
        ("8080||two words||false", "capability"),
        ("8080||GENERAL||maybe", "neither true nor false"),
    ],
)
def test_a_registration_that_makes_no_sense(master: tuple[str, int], payload: str, text: str) -> None:
    assert text in refused(master, wire.REGISTER, payload)


@pytest.mark.parametrize(
    ("opcode", "payload"),
    [
        (wire.JOB_COMPLETE, "a"),
        (wire.JOB_COMPLETE, "a|MAYBE|x"),
        (wire.KILL_WORKER, "127.0.0.1"),
        (wire.KILL_WORKER, "127.0.0.1|http"),
        (wire.KILL_WORKER, "127.0.0.1|70000"),
        (wire.UPLOAD_ASSET, "a.py"),
        (wire.UPLOAD_ASSET, "a.py|***"),
        (wire.KV_SET, "no value"),
        (wire.KV_SET, "|v"),
        (wire.KV_GET, ""),
        (wire.KV_SADD, "k"),
        (wire.LOG_STREAM, "no line"),
        (wire.GET_LOGS, ""),
        (wire.GET_JOB_STATUS, "\x00"),
        (wire.CANCEL_JOB, " "),
        (wire.STOP, ""),
        (wire.DEPLOY, "a.py|port"),
        (wire.DEPLOY, "a.py|65536"),
        (wire.RUN, ""),
        (wire.SUBMIT_JOB, ""),
    ],
)
def test_other_classic_payloads_that_make_no_sense(master: tuple[str, int], opcode: int, payload: str) -> None:
    assert len(refused(master, opcode, payload)) > len("ERROR ")


def test_keys_and_values_out_of_bounds(master: tuple[str, int], peer: Structured) -> None:
    assert "over the limit" in refused(master, wire.KV_SET, "large|" + "x" * 9_000_000)
    assert "1024 bytes" in refused(master, wire.KV_SET, "k" * 1025 + "|v")
    assert "1024 bytes" in refused(master, wire.KV_SADD, "k|" + "m" * 1025)
    assert "control character" in refused(master, wire.KV_GET, "a\nb")
    assert "over the limit" in peer.refusal(KV_SET, {"key": "large", "value": b"x" * 9_000_000})
    assert "control character" in peer.refusal(KV_SET, {"key": "a\0b", "value": b""})
    assert wire.call(master, wire.KV_GET, "large").text == "NULL"


@pytest.mark.parametrize(
    ("flow", "options", "why"),
    [
        (FlowSpec(when="-" * 990 + "1"), RunOptions(), "nested too deeply"),
        (FlowSpec(when="1+" * 480 + "1"), RunOptions(), "nested too deeply"),
        (FlowSpec(when="parents.k.n > 1"), RunOptions(kept={"k": "r/k"}, kept_outputs={"k": b"[]"}), "no JSON object"),
        (FlowSpec(), RunOptions(kept={"job": "r/job"}), "it is kept of an earlier run"),
    ],
)
def test_what_would_go_wrong_in_the_core_is_refused(
    cluster: Cluster, master: tuple[str, int], flow: FlowSpec, options: RunOptions, why: str
) -> None:
    parents = ("k",) if "k" in options.kept else ()
    with pytest.raises(SubmissionRefused, match=why):
        cluster.submit(cluster.job("", parents=parents, flow=flow), options=options)


def test_a_correlation_id_that_is_in_use(cluster: Cluster, master: tuple[str, int]) -> None:
    """Whose answer is which could not be told any more: such a connection is closed."""
    key = cluster.run("import time; time.sleep(600)", id="sleeper")
    cluster.wait_state(key, "RUNNING")
    with Structured(master, cluster.token) as peer:
        asked = wire.frame(GET_LOGS, msgspec.msgpack.encode({"id": key, "wait_s": 20}), flags=STRUCTURED, spare=3)
        peer.send(asked + asked)
        frame = peer.read()
        assert frame is not None and b"correlation id 3 is in use" in frame[2]
        assert peer.read() is None
    assert wire.call(master, wire.CANCEL_JOB, key).text == "CANCELLED"
    assert cluster.wait_state(key).state == "CANCELLED"


# --- names ----------------------------------------------------------------------------------------------------------

BAD_NAMES = [
    "..",
    "../up.py",
    "a/b.py",
    "/etc/passwd",
    "nul\0.py",
    "new\nline.py",
    "back\\slash.py",
    "x" * 256,
    "ü" * 200,
]


@pytest.mark.parametrize("name", BAD_NAMES)
def test_names_that_lead_out_of_their_folder(
    cluster: Cluster, master: tuple[str, int], peer: Structured, name: str
) -> None:
    before = files_around(cluster)
    for opcode, payload in (
        (wire.UPLOAD_ASSET, f"{name}|{SCRIPT}"),
        (wire.DEPLOY_SCRIPT, f"{name}|{SCRIPT}"),
        (wire.FETCH_ASSET, name),
        (wire.RUN, name),
        (wire.RUN, f"{name}|GENERAL"),
        (wire.DEPLOY, f"{name}|8080|GENERAL"),
        (wire.SUBMIT_JOB, f"RUN_PAYLOAD|{name}||{SCRIPT}|GENERAL|1|0"),
        (wire.SUBMIT_DAG, f"a|RUN_PAYLOAD|{name}||{SCRIPT}|GENERAL|1|0|[]"),
        (wire.SUBMIT_DAG, f"a|DEPLOY_PAYLOAD|{name}|{SCRIPT}|8080|GENERAL|1|0|[]"),
        (wire.SUBMIT_DAG, f"a|RUN_ARCHIVE|p.zip/{name if name[0] == '/' else '../' + name}||GENERAL|1|0|[]"),
        (wire.SUBMIT_DAG, f"a|RUN_ARCHIVE|../{name}.zip/main.py||GENERAL|1|0|[]"),
    ):
        refused(master, opcode, payload)
    digest = cluster.upload(b"print(1)")
    job = {"id": "a", "file": name, "sha256": digest, "size": 8}
    for opcode, message in (
        (UPLOAD, {"sha256": digest, "size": 8, "offset": 0, "data": b"print(1)", "name": name}),
        (UPLOAD, {"sha256": digest, "size": 8, "offset": 0, "data": b"print(1)", "name": name, "staged": True}),
        (FETCH, {"name": name}),
        (RUN_FILE, {"file": name}),
        (DEPLOY, {"file": name}),
        (SUBMIT_RUN, {"name": "x", "jobs": [job]}),
        (SUBMIT_RUN, {"name": "x", "jobs": [job | {"file": "m.py", "archive": name}]}),
        (SUBMIT_RUN, {"name": "x", "jobs": [job | {"file": f"../{name}", "archive": "p.zip"}]}),
    ):
        peer.refusal(opcode, message)
    assert files_around(cluster) == before


@pytest.mark.parametrize("digest", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_digests_that_are_none(cluster: Cluster, peer: Structured, digest: str) -> None:
    before = files_around(cluster)
    peer.refusal(UPLOAD, {"sha256": digest, "size": 1, "offset": 0, "data": b"x"})
    peer.refusal(FETCH, {"sha256": digest})
    peer.refusal(SUBMIT_RUN, {"name": "x", "jobs": [{"id": "a", "file": "a.py", "sha256": digest}]})
    assert files_around(cluster) == before


def test_a_file_in_the_place_of_a_folder(cluster: Cluster, master: tuple[str, int], peer: Structured) -> None:
    assert "folder" in refused(master, wire.UPLOAD_ASSET, f"staged|{SCRIPT}")
    digest = cluster.upload(b"print(1)")
    chunk = {"sha256": digest, "size": 8, "offset": 0, "data": b"print(1)", "name": "staged"}
    assert "folder" in peer.refusal(UPLOAD, chunk)


BAD_IDS = ["a'b", 'a"b', "a\nb", "a\0b", "../a", "a/b", "..", "a<b>", "x" * 181, "\u202egpj"]


@pytest.mark.parametrize("job_id", BAD_IDS)
def test_ids_that_name_no_job(cluster: Cluster, master: tuple[str, int], peer: Structured, job_id: str) -> None:
    before = files_around(cluster)
    body = f"RUN_PAYLOAD|f.py||{SCRIPT}|GENERAL|1|0"
    refused(master, wire.SUBMIT_DAG, f"{job_id}|{body}|[]")
    refused(master, wire.SUBMIT_DAG, f"a|{body}|[];b|{body}|[{job_id}]")
    refused(master, wire.SUBMIT_JOB, f"{job_id}|{body}")
    job = {"id": job_id, "file": "a.py", "sha256": cluster.upload(b"print(1)"), "size": 8}
    assert "job id" in peer.refusal(SUBMIT_RUN, {"name": "x", "jobs": [job]})
    (cluster.perm_files / "ok.py").write_text("print(1)")
    assert "job id" in peer.refusal(RUN_FILE, {"file": "ok.py", "job_id": job_id})
    (cluster.perm_files / "ok.py").unlink()
    for opcode in (GET_JOB, GET_LOGS, CANCEL, STOP):
        peer.refusal(opcode, {"id": job_id})
    for opcode in (wire.GET_JOB_STATUS, wire.GET_LOGS, wire.CANCEL_JOB, wire.STOP, wire.UNREGISTER_SERVICE):
        assert wire.call(master, opcode, job_id).text.startswith(("ERROR", "NULL", "NOT_FOUND", "ACK_UNREG")) or (
            opcode == wire.GET_LOGS and wire.call(master, opcode, job_id).text == ""
        )
    assert files_around(cluster) == before


def files_around(cluster: Cluster) -> list[str]:
    """Every file and folder of the cluster but those that the master and the worker write of their own accord."""
    own = ("master.log", "worker.log", "titan.db", "worker-", "content")
    found = []
    for folder, folders, files in os.walk(cluster.root.parent):
        folders[:] = [name for name in folders if not name.startswith(own)]
        found += [os.path.join(folder, name) for name in (*folders, *files) if not name.startswith(own)]
    return sorted(found)


# --- archives -------------------------------------------------------------------------------------------------------


def zip_of(*entries: tuple[str | zipfile.ZipInfo, bytes]) -> bytes:
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, content in entries:
            zipped.writestr(name, content)
    return data.getvalue()


def link_to(target: str) -> tuple[zipfile.ZipInfo, bytes]:
    entry = zipfile.ZipInfo("out")
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry, target.encode()


MAIN = ("main.py", b"print('it ran')")


@pytest.mark.parametrize(
    ("entries", "reason"),
    [
        ([("../evil.py", b"x")], "../evil.py"),
        ([("a/../../evil.py", b"x")], "evil.py"),
        ([("/tmp/titan-evil.py", b"x")], "not a relative"),
        ([("../project-evil/evil.py", b"x")], "project-evil"),
        ([("..\\evil.py", b"x")], "evil.py"),
        ([link_to("/etc"), ("out/evil.py", b"x")], "link"),
        ([("a", b"x"), ("a/b", b"x")], "two entries"),
    ],
    ids=["dots", "dots-inside", "absolute", "sibling", "backslash", "link", "twice"],
)
def test_archives_that_reach_out_fail_their_job_and_nothing_else(
    cluster: Cluster, master: tuple[str, int], entries: list[tuple[str | zipfile.ZipInfo, bytes]], reason: str
) -> None:
    data = zip_of(MAIN, *entries)
    spec = cluster.job(data, id="reach", file="main.py", archive="p.zip", retries=0)
    key = f"{cluster.submit(spec).run_id}/reach"
    info = cluster.wait_state(key)
    assert info.state == "DEAD"
    assert reason in info.reason, info.reason
    assert not [name for name in files_around(cluster) if "evil" in name]
    assert not Path("/tmp/titan-evil.py").exists()
    assert not (cluster.workspace / "jobs" / "reach" / "project").exists()


def test_an_archive_that_expands_without_end(cluster: Cluster, master: tuple[str, int]) -> None:
    """More than 4 GiB together, by what it says itself: not a byte of it is written."""
    data = zip_of(MAIN, ("zeros-1", bytes(MIB)), ("zeros-2", bytes(MIB)))
    for name in ("zeros-1", "zeros-2"):
        data = _declared_size(data, name, 0xFFFFFFF0)
    spec = cluster.job(data, id="bomb", file="main.py", archive="p.zip", retries=0)
    info = cluster.wait_state(f"{cluster.submit(spec).run_id}/bomb")
    assert info.state == "DEAD"
    assert "expands to more than" in info.reason
    assert not (cluster.workspace / "jobs" / "bomb" / "project").exists()


def _declared_size(data: bytes, name: str, size: int) -> bytes:
    """The archive with another uncompressed size written into the central directory's entry of that name."""
    changed = bytearray(data)
    at = data.rindex(b"PK\x01\x02", 0, data.rindex(name.encode()))
    changed[at + 24 : at + 28] = struct.pack("<I", size)
    return bytes(changed)


@pytest.mark.parametrize("data", [b"", b"PK", b"not a zip", zip_of(MAIN)[:-10], b"PK\x05\x06" + b"\xff" * 18])
def test_archives_that_are_none_are_refused_at_once(cluster: Cluster, peer: Structured, data: bytes) -> None:
    job = {"id": "none", "file": "main.py", "archive": "p.zip", "sha256": cluster.upload(data), "size": len(data)}
    assert "zip" in peer.refusal(SUBMIT_RUN, {"name": "x", "jobs": [job]})


@pytest.mark.skipif(sys.platform != "linux", reason="reads the highest memory from /proc")
def test_archives_with_entries_without_end_cost_the_master_no_memory(cluster: Cluster, peer: Structured) -> None:
    """A list of entries that is read in whole would be some 500 MB in the master's memory."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"f"
    directory = entry * 600_000
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFE, 0xFFFE, len(directory), 0, 0)
    before = peak(cluster.programs[0])
    for data, reason in (
        (directory + end, "list of entries"),
        (zip_of(MAIN, *((f"f{number}", b"") for number in range(50_000))), "50001 entries"),
    ):
        job = {"id": "crowd", "file": "main.py", "archive": "p.zip", "sha256": cluster.upload(data), "size": len(data)}
        assert reason in peer.refusal(SUBMIT_RUN, {"name": "x", "jobs": [job]})
    assert peak(cluster.programs[0]) - before < 100 * MIB


def test_an_archive_on_a_classic_line(cluster: Cluster, master: tuple[str, int]) -> None:
    data = b64(zip_of(MAIN, ("../evil.py", b"x")))
    assert wire.call(master, wire.UPLOAD_ASSET, f"reach.zip|{data}").text == "UPLOAD_SUCCESS"
    assert "typo.py" in refused(master, wire.SUBMIT_DAG, "z|RUN_ARCHIVE|reach.zip/typo.py||GENERAL|1|0|[]")
    assert wire.call(master, wire.SUBMIT_DAG, "z|RUN_ARCHIVE|reach.zip/main.py||GENERAL|1|0|[]").opcode == wire.ACK
    wait_until(lambda: cluster.info("DAG-z").executions[:1] and cluster.info("DAG-z").executions[0].ended_at, 20)
    assert "evil.py" in cluster.info("DAG-z").executions[0].reason
    wire.call(master, wire.CANCEL_JOB, "z")
    cluster.wait_state("DAG-z")


# --- large things ---------------------------------------------------------------------------------------------------


def test_a_script_of_50_mb(cluster: Cluster, master: tuple[str, int]) -> None:
    """Too large for a classic frame, and no trouble in chunks."""
    received = wire.call_until_closed(
        master, struct.pack(">BBBBI", 1, wire.UPLOAD_ASSET, 0, 0, 70_000_000) + b"x" * MIB
    )
    assert b"over the limit" in received
    before = rss(cluster.programs[0])
    source = b"print('large')\n" + b"# " + b"x" * 50_000_000 + b"\n"
    key = cluster.run(source, id="large")
    assert cluster.wait_state(key).state == "COMPLETED"
    assert cluster.log(key) == b"large\n"
    assert rss(cluster.programs[0]) - before < 30 * MIB


def test_a_log_of_200_mb(cluster: Cluster, master: tuple[str, int]) -> None:
    """The master's memory stays as it is, other jobs run meanwhile, and the whole of it arrives."""
    before = rss(cluster.programs[0])
    source = (
        "import sys\nblock = b'x' * 1023 + b'\\n'\nfor _ in range(200):\n    sys.stdout.buffer.write(block * 1024)\n"
    )
    key = cluster.run(source, id="loud")
    highest = 0
    while cluster.info(key).state not in ("COMPLETED", "DEAD"):
        highest = max(highest, rss(cluster.programs[0]))
        still_works(cluster, "meanwhile")
    info = cluster.wait_state(key)
    assert info.state == "COMPLETED"
    assert highest - before < 60 * MIB
    assert info.log_bytes == 200 * MIB
    tail = wire.call(master, wire.GET_LOGS, "loud")
    assert len(tail.text) in (10 * MIB, 10 * MIB - 1), "as much of its end as a frame holds"


# --- who may speak --------------------------------------------------------------------------------------------------


def test_vitals_that_are_no_numbers_stay_out_of_the_statistics(cluster: Cluster, master: tuple[str, int]) -> None:
    def refuse(word: str) -> None:
        raise AssertionError(f"{word} is no JSON")

    with Structured(master, cluster.token, "worker") as peer:
        registration = {"worker_id": "odd", "boot_id": "b", "port": 7, "capabilities": ["ODD"], "slots": 1}
        assert peer.ask(REGISTER, registration)[0] == 0x52
        peer.ask(wire.HEARTBEAT, {"cpu_percent": float("nan"), "memory_percent": 1e300})
        stats = json.loads(wire.call(master, wire.STATS_JSON, "").text, parse_constant=refuse)
        (odd,) = [worker for worker in stats["workers"] if worker["worker_id"] == "odd"]
        assert (odd["cpu"], odd["memory"]) == (0.0, 0.0)
        peer.ask(DEREGISTER, {})


@pytest.mark.parametrize("token", ["", "wrong", "x" * 10_000, "ü", "\0"])
def test_a_wrong_token(cluster: Cluster, master: tuple[str, int], token: str) -> None:
    for given in (token, cluster.token + token if token else cluster.token[:-1]):
        with Structured(master) as peer:
            text = peer.refusal(HELLO, {"token": given})
            assert "token" in text
            assert cluster.token not in text
            assert peer.read() is None, "closed"


@pytest.mark.parametrize(("opcode", "message"), [(LIST_JOBS, {}), (HELLO, {}), (HELLO, b"\xc1"), (0x7F, {})])
def test_no_token(master: tuple[str, int], opcode: int, message: object) -> None:
    with Structured(master) as peer:
        assert "hello with the token first" in peer.refusal(opcode, message)
        assert peer.read() is None, "closed"


def test_nothing_is_served_before_the_welcome(master: tuple[str, int]) -> None:
    """Requests sent at once behind a refused hello are not carried out."""
    key = "set without a token"
    with Structured(master) as peer:
        hello = wire.frame(HELLO, msgspec.msgpack.encode({"token": "wrong"}), flags=STRUCTURED, spare=1)
        setting = msgspec.msgpack.encode({"key": key, "value": b"x"})
        peer.send(hello + wire.frame(KV_SET, setting, flags=STRUCTURED, spare=2))
        answers = []
        while (frame := peer.read()) is not None:
            answers.append(frame)
    assert [(opcode, spare) for opcode, spare, _ in answers] == [(0x51, 1)]
    assert wire.call(master, wire.KV_GET, key).text == "NULL"


def test_what_comes_with_the_hello_is_served_too(cluster: Cluster, master: tuple[str, int]) -> None:
    """In one piece, and cut in the middle of the second frame."""
    hello = wire.frame(HELLO, msgspec.msgpack.encode({"token": cluster.token}), flags=STRUCTURED, spare=1)
    asked = wire.frame(LIST_JOBS, msgspec.msgpack.encode({}), flags=STRUCTURED, spare=2)
    for sent in (hello + asked, hello + asked[:5]):
        with Structured(master) as peer:
            peer.send(sent)
            welcome = peer.read()
            assert welcome is not None and welcome[1] == 1
            peer.send((hello + asked)[len(sent) :])
            listed = peer.read()
            assert listed is not None and listed[1] == 2


AS_ANOTHER_USER = """
import os, socket, struct, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
with socket.socket() as sock:  # getaddrinfo would load what this user may not be able to read
    sock.connect(("127.0.0.1", int(sys.argv[1])))
    sock.sendall(struct.pack(">BBBBI", 1, int(sys.argv[2]), 0, 0, len(sys.argv[3])) + sys.argv[3].encode())
    data = b""
    while piece := sock.recv(65536):
        data += piece
sys.stdout.buffer.write(data)
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("opcode", "payload"), [(wire.STATS, ""), (wire.KV_SET, "foreign|x"), (wire.LOG_BATCH, "a|x"), (0x7F, "?")]
)
def test_classic_peers_of_another_user_are_not_served(master: tuple[str, int], opcode: int, payload: str) -> None:
    argv = [sys.executable, "-I", "-c", AS_ANOTHER_USER, str(master[1]), str(opcode), payload]
    done = subprocess.run(argv, capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stdout[:4] == b"\x01\x51\x00\x00"
    assert done.stdout[8:].startswith(b"ERROR UNAUTHORIZED")
    assert wire.call(master, wire.KV_GET, "foreign").text == "NULL"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize(
    ("opcode", "payload"), [(wire.HEARTBEAT, ""), (wire.STAGE, f"a.py|{SCRIPT}"), (wire.KILL_WORKER, "now")]
)
def test_a_worker_serves_no_masters_of_another_user(
    cluster: Cluster, master: tuple[str, int], opcode: int, payload: str
) -> None:
    (worker,) = cluster.workers()
    argv = [sys.executable, "-I", "-c", AS_ANOTHER_USER, str(worker.port), str(opcode), payload]
    done = subprocess.run(argv, capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr
    assert done.stdout[8:].startswith(b"ERROR UNAUTHORIZED")
    assert wire.call(("127.0.0.1", worker.port), wire.HEARTBEAT).text == "PONG|0|4"


def test_another_address_needs_the_word_insecure_and_then_serves_the_network(tmp_path: Path) -> None:
    open_to_all = Cluster(tmp_path / "open")
    try:
        closed = open_to_all.start_master("--host", "0.0.0.0", wait=False)
        assert closed.wait() == 2
        (line,) = closed.log_text().splitlines()
        assert "add --insecure" in line
        assert not (open_to_all.home / "token").exists(), "nothing was begun"
        master = open_to_all.start_master("--host", "0.0.0.0", "--insecure")
        assert "INSECURE" in master.log_text()
        if os.getuid() == 0:
            argv = [sys.executable, "-I", "-c", AS_ANOTHER_USER, str(open_to_all.port), str(wire.KV_GET), "k"]
            assert subprocess.run(argv, capture_output=True, timeout=20).stdout[8:] == b"NULL"
        with Structured(("127.0.0.1", open_to_all.port)) as peer:
            assert "token" in peer.refusal(HELLO, {"token": "wrong"}), "a token is wanted all the same"
    finally:
        open_to_all.stop()


def test_the_token_is_found_by_itself(cluster: Cluster, master: tuple[str, int]) -> None:
    """By a program of this user that knows nothing but the port: in its own file, which nobody else can read."""
    token = cluster.home / "token"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    script = "from titan_sdk.connection import RpcClient\nimport sys\n"
    script += "print(RpcClient('127.0.0.1', int(sys.argv[1])).connect().term)"
    for mode, code in ((0o600, 0), (0o644, 1)):
        token.chmod(mode)
        try:
            done = subprocess.run(
                [sys.executable, "-c", script, str(master[1])],
                env=cluster.environment(PYTHONPATH=str(ROOT)),
                capture_output=True,
                text=True,
                timeout=20,
            )
        finally:
            token.chmod(0o600)
        assert done.returncode == code, done.stderr
        assert done.stdout == "1\n" if code == 0 else "can be read by others" in done.stderr
    assert cluster.token not in "".join(program.log_text() for program in cluster.programs)


# --- many at once ---------------------------------------------------------------------------------------------------


@contextmanager
def crowd(address: tuple[str, int], size: int) -> Iterator[list[socket.socket]]:
    sockets = [socket.create_connection(address, timeout=20) for _ in range(size)]
    try:
        yield sockets
    finally:
        for sock in sockets:
            sock.close()


def test_a_crowd_of_half_frames_holds_up_nobody(cluster: Cluster, master: tuple[str, int]) -> None:
    with crowd(master, 200) as sockets:
        for number, sock in enumerate(sockets):
            sock.sendall(wire.frame(wire.SUBMIT_DAG, "x" * 1000)[: 1 + number % 100])
        begin = time.monotonic()
        still_works(cluster, "in-the-crowd")
        assert wire.call(master, wire.KV_GET, "nothing").text == "NULL"
        assert time.monotonic() - begin < 10
