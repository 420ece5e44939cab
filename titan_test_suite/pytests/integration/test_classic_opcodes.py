"""Every classic opcode against a real master, byte for byte, asked by a client that shares no code with ours."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import socket
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_test_suite.pytests.classic_peers import wire
from titan_test_suite.pytests.cluster import Cluster

Address = tuple[str, int]


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def ack(text: str) -> bytes:
    """The whole reply of a request that succeeded, written out from the wire contract."""
    data = text.encode()
    return struct.pack(">BBBBI", 1, 0x50, 0, 0, len(data)) + data


@pytest.fixture(scope="module")
def cluster_of_one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A master without workers: what is submitted stays queued, so that every answer is known."""
    cluster = Cluster(tmp_path_factory.mktemp("classic"))
    cluster.start_master()
    yield cluster
    cluster.stop()


@pytest.fixture(scope="module")
def master(cluster_of_one: Cluster) -> Address:
    return ("127.0.0.1", cluster_of_one.port)


def test_a_script_that_reads_until_the_master_closes_gets_one_reply_and_its_end(master: Address) -> None:
    assert wire.call_until_closed(master, wire.frame(wire.KV_GET, "nobody set this")) == ack("NULL")


def test_what_follows_the_first_frame_is_not_looked_at(master: Address) -> None:
    """The original closes after its reply; ours does too, and the reply arrives although more was sent."""
    setting = wire.frame(wire.KV_SET, "classic:second|x")
    first = wire.frame(wire.KV_GET, "nobody set this")
    assert wire.call_until_closed(master, first + setting * 100_000) == ack("NULL")
    assert wire.call(master, wire.KV_GET, "classic:second").text == "NULL"


def test_five_hundred_connections_at_once_are_all_answered(master: Address) -> None:
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(socket.create_connection(master, timeout=60.0)) for _ in range(500)]
        for number, sock in enumerate(crowd):
            sock.sendall(wire.frame(wire.KV_SET, f"crowd:{number}|{number}"))
        replies = [wire.read_frame(sock) for sock in crowd]
    assert {reply.text if reply else None for reply in replies} == {"OK"}
    assert wire.call(master, wire.KV_GET, "crowd:499").text == "499"


def test_a_spare_byte_changes_nothing(master: Address) -> None:
    assert wire.call_until_closed(master, wire.frame(wire.KV_GET, "nobody set this", spare=9)) == ack("NULL")


@pytest.mark.parametrize(
    ("opcode", "payload", "reply"),
    [
        (wire.KV_SET, "classic:k|a value | with pipes\nand lines", "OK"),
        (wire.KV_GET, "classic:k", "a value | with pipes\nand lines"),
        (wire.KV_SET, "classic:k|", "OK"),
        (wire.KV_GET, "classic:k", ""),
        (wire.KV_SMEMBERS, "classic:s", ""),
        (wire.KV_SADD, "classic:s|one", "1"),
        (wire.KV_SADD, "classic:s|zwei ü", "1"),
        (wire.KV_SADD, "classic:s|one", "0"),
        (wire.KV_SMEMBERS, "classic:s", "one,zwei ü"),
        (wire.UPLOAD_ASSET, f"notes.txt|{b64('line one')}", "UPLOAD_SUCCESS"),
        (wire.FETCH_ASSET, "notes.txt", b64("line one")),
        (wire.UPLOAD_ASSET, f"notes.txt|{b64('')}", "UPLOAD_SUCCESS"),
        (wire.FETCH_ASSET, "notes.txt", ""),
        (wire.DEPLOY_SCRIPT, f"hello.py|{b64('print(1)')}", "DEPLOY_SUCCESS"),
        (wire.FETCH_ASSET, "hello.py", b64("print(1)")),
        (wire.GET_JOB_STATUS, "nobody", "NULL"),
        (wire.GET_LOGS, "nobody", ""),
        (wire.CANCEL_JOB, "nobody", "NOT_FOUND"),
        (wire.UNREGISTER_SERVICE, "nobody", "ACK_UNREGISTERED"),
        (wire.JOB_COMPLETE, "nobody|COMPLETED|COMPLETED|0|out | put\nmore", "ACK_CALLBACK"),
        (wire.LOG_STREAM, "nobody|a line", "ACK_LOG"),
        (wire.LOG_BATCH, "nobody|a line\nanother", "ACK_BATCH"),
        (wire.DEPLOY, "hello.py", "DEPLOY_QUEUED"),
        (wire.DEPLOY, "hello.py|8099", "DEPLOY_QUEUED"),
        (wire.DEPLOY, "hello.py|8099|GPU", "DEPLOY_QUEUED"),
        (wire.DEPLOY, "Worker.jar", "DEPLOY_QUEUED"),
        (wire.DEPLOY, "Worker.jar|8086|GPU", "DEPLOY_QUEUED"),
        (wire.SUBMIT_JOB, f"one|RUN_PAYLOAD|one.py|{b64('print(1)')}", "JOB_ACCEPTED"),
        (wire.GET_JOB_STATUS, "one", "PENDING"),
        (wire.GET_LOGS, "one", ""),
        (wire.CANCEL_JOB, "one", "CANCELLED"),
        (wire.GET_JOB_STATUS, "one", "CANCELLED"),
        (wire.CANCEL_JOB, "one", "NOT_FOUND"),
        (wire.SUBMIT_JOB, f"GENERAL|RUN_PAYLOAD|two.py|-v|{b64('print(2)')}|GENERAL|1|0", "JOB_ACCEPTED"),
        (wire.SUBMIT_JOB, f"later|RUN_PAYLOAD|x.py|-v|{b64('print(2)')}|GENERAL|7|600000", "JOB_ACCEPTED"),
        (wire.GET_JOB_STATUS, "later", "PENDING"),
        (wire.STOP, "later", "STOPPED: later"),
        (wire.GET_JOB_STATUS, "later", "CANCELLED"),
    ],
)
def test_reply(master: Address, opcode: int, payload: str, reply: str) -> None:
    """In order: later ones build on earlier ones."""
    assert wire.call_until_closed(master, wire.frame(opcode, payload)) == ack(reply)


def test_run_says_which_job_it_queued(master: Address) -> None:
    wire.call(master, wire.DEPLOY_SCRIPT, f"now.py|{b64('print(1)')}")
    reply = wire.call(master, wire.RUN, "now.py|GPU")
    assert reply.opcode == wire.ACK
    found = re.fullmatch(r"JOB_QUEUED(TSK-[0-9a-f-]{36}) on GPU", reply.text)
    assert found, reply
    assert wire.call(master, wire.GET_JOB_STATUS, found[1]).text == "PENDING"
    assert wire.call(master, wire.RUN, "now.py").text.endswith(" on GENERAL")


def test_run_finds_a_file_in_a_sub_folder(master: Address, cluster_of_one: Cluster) -> None:
    (cluster_of_one.perm_files / "deep" / "er").mkdir(parents=True)
    (cluster_of_one.perm_files / "deep" / "er" / "below.py").write_text("print(1)")
    assert wire.call(master, wire.RUN, "below.py").text.startswith("JOB_QUEUED")


def test_a_dag_is_queued_with_its_prefix_and_found_without(master: Address) -> None:
    lines = [
        f"extract | RUN_PAYLOAD|extract.py|a b|{b64('print(1)')}|GENERAL | 5 | 0 | []",
        f" DAG-load|GENERAL|RUN_PAYLOAD|load.py||{b64('print(1)')}|GENERAL|1|0|[extract,DAG-extract]|AFFINITY ",
        f"serve|DEPLOY_PAYLOAD|serve.py|{b64('print(1)')}|8077|GPU|1|0|[DAG-load]|STICKY",
    ]
    assert wire.call_until_closed(master, wire.frame(wire.SUBMIT_DAG, " ; ".join(lines))) == ack("DAG_ACCEPTED")
    for name in ("extract", "DAG-extract", "load", "DAG-serve"):
        assert wire.call(master, wire.GET_JOB_STATUS, name).text == "PENDING"
    assert "Blocked (DAG):     2 jobs" in wire.call(master, wire.STATS).text
    assert wire.call(master, wire.CANCEL_JOB, "extract").text == "CANCELLED"
    assert wire.call(master, wire.GET_JOB_STATUS, "serve").text == "DEAD"


def test_an_archive_of_perm_files_is_an_entry_point(master: Address, cluster_of_one: Cluster) -> None:
    with zipfile.ZipFile(data := io.BytesIO(), "w") as zipped:
        zipped.writestr("src/main.py", "print(1)")
    wire.call(master, wire.UPLOAD_ASSET, f"project.zip|{b64(data.getvalue())}")
    good = "arch|RUN_ARCHIVE|project.zip/src/main.py|--fast|GENERAL|1|0|[]"
    service = "archserve|START_ARCHIVE_SERVICE|project.zip/src/main.py||8078|GENERAL|1|0|[arch]"
    assert wire.call(master, wire.SUBMIT_DAG, f"{good};{service}").text == "DAG_ACCEPTED"
    assert wire.call(master, wire.CANCEL_JOB, "arch").text == "CANCELLED"
    missing = wire.call(master, wire.SUBMIT_DAG, "arch|RUN_ARCHIVE|project.zip/src/typo.py|||1|0|[]")
    assert missing.opcode == wire.ERROR
    assert missing.text.startswith("ERROR")
    assert "src/typo.py" in missing.text


def test_the_monitor_as_text(master: Address) -> None:
    lines = wire.call(master, wire.STATS).text.splitlines()
    assert lines[0] == "--- TITAN SYSTEM MONITOR ---"
    assert lines[1] == "Active Workers:    0"
    assert re.fullmatch(r"Execution Queue:   \d+ jobs", lines[2])
    assert re.fullmatch(r"Delayed \(Time\):    \d+ jobs", lines[3])
    assert re.fullmatch(r"Blocked \(DAG\):     \d+ jobs", lines[4])
    assert re.fullmatch(r"Dead Letter \(DLQ\): \d+ jobs", lines[5])
    assert lines[6:8] == ["-" * 31, "Worker Status:"]


def test_the_monitor_as_json(master: Address) -> None:
    data = json.loads(wire.call(master, wire.STATS_JSON).text)
    assert data["active_workers"] == 0
    assert isinstance(data["queue_size"], int)
    assert data["workers"] == []
    assert wire.call(master, wire.CLEAN_STATS).opcode == wire.ACK


@pytest.mark.parametrize(
    ("opcode", "payload", "text"),
    [
        (wire.STOP, "nobody", "nobody"),
        (wire.KILL_WORKER, "127.0.0.1|1", "no worker at 127.0.0.1:1"),
        (wire.FETCH_ASSET, "nothing.txt", "ERROR_NOT_FOUND"),
        (wire.RUN, "nothing.py", "nothing.py"),
        (wire.DEPLOY, "nothing.py", "nothing.py"),
        (wire.SUBMIT_JOB, "PDF_CONVERT|some data|1|0", "PDF_CONVERT"),
        (wire.UPLOAD_ASSET, "a.txt|not base64!", "base64"),
    ],
)
def test_a_failure_is_an_error_frame_whose_text_begins_with_error(
    master: Address, opcode: int, payload: str, text: str
) -> None:
    reply = wire.call(master, opcode, payload)
    assert reply.opcode == wire.ERROR
    assert reply.header[:4] == b"\x01\x51\x00\x00"
    assert reply.text.startswith("ERROR")
    assert text in reply.text


def test_a_refused_dag_names_every_bad_line_and_queues_nothing(master: Address) -> None:
    before = wire.call(master, wire.STATS_JSON).text
    lines = [
        f"fine|RUN_PAYLOAD|a.py||{b64('1')}|GENERAL|1|0|[]",
        "nonsense",
        f"orphan|RUN_PAYLOAD|a.py||{b64('1')}|GENERAL|1|0|[nobody]",
        f"fine|RUN_PAYLOAD|a.py||{b64('1')}|GENERAL|1|0|[]",
    ]
    reply = wire.call(master, wire.SUBMIT_DAG, ";".join(lines))
    assert reply.opcode == wire.ERROR
    for part in ("line 2", "line 3", "DAG-nobody", "line 4", "twice"):
        assert part in reply.text
    assert wire.call(master, wire.GET_JOB_STATUS, "fine").text == "NULL"
    after = wire.call(master, wire.STATS_JSON).text
    assert json.loads(before)["queue_size"] == json.loads(after)["queue_size"]


def test_an_id_that_is_still_active_is_refused(master: Address) -> None:
    line = f"twin|RUN_PAYLOAD|a.py||{b64('1')}|GPU|1|0|[]"
    assert wire.call(master, wire.SUBMIT_DAG, line).text == "DAG_ACCEPTED"
    again = wire.call(master, wire.SUBMIT_DAG, line)
    assert again.opcode == wire.ERROR
    assert "DAG-twin" in again.text
    wire.call(master, wire.CANCEL_JOB, "twin")
    assert wire.call(master, wire.SUBMIT_DAG, line).text == "DAG_ACCEPTED"


def test_what_is_acknowledged_survives_a_kill(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "killed")
    try:
        first = cluster.start_master()
        address = ("127.0.0.1", cluster.port)
        dag = f"a|RUN_PAYLOAD|a.py||{b64('1')}|GPU|1|0|[];b|RUN_PAYLOAD|a.py||{b64('1')}|GPU|1|0|[a]"
        assert wire.call(address, wire.SUBMIT_DAG, dag).text == "DAG_ACCEPTED"
        assert wire.call(address, wire.KV_SET, "k|v").text == "OK"
        first.kill()
        cluster.start_master()
        assert wire.call(address, wire.GET_JOB_STATUS, "b").text == "PENDING"
        assert wire.call(address, wire.KV_GET, "k").text == "v"
        assert "Blocked (DAG):     1 jobs" in wire.call(address, wire.STATS).text
    finally:
        cluster.stop()
