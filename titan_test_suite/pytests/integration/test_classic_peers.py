"""Original workers and scripts in our cluster, from end to end. What plays them shares no code with ours."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from titan_test_suite.pytests.classic_peers import wire
from titan_test_suite.pytests.classic_peers.java_worker import JavaWorker, wait_for_port
from titan_test_suite.pytests.cluster import Cluster, wait_until

WAIT_FOR_FILE = (
    "import pathlib, sys, time\nwhile not pathlib.Path(sys.argv[1]).exists(): time.sleep(0.01)\nprint('seen')\n"
)
SERVER = """
import http.server, sys
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""

MakeWorker = Callable[..., JavaWorker]


def b64(text: str | bytes) -> str:
    return base64.b64encode(text.encode() if isinstance(text, str) else text).decode()


def payload(source: str, args: str = "", requirement: str = "GENERAL", name: str = "job.py") -> str:
    return f"RUN_PAYLOAD|{name}|{args}|{b64(source)}|{requirement}"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


@pytest.fixture
def master(cluster: Cluster) -> Cluster:
    """A master alone, which soon notices that a worker is silent."""
    cluster.start_master("--heartbeat-seconds", "0.2", "--lease-seconds", "2")
    return cluster


@pytest.fixture
def java(master: Cluster, tmp_path: Path) -> Iterator[MakeWorker]:
    """Starts original workers of the master, each registered when it is returned."""
    with ExitStack() as workers:

        def make(**options: object) -> JavaWorker:
            folder = tmp_path / f"java-{len(list(tmp_path.glob('java-*')))}"
            worker = workers.enter_context(JavaWorker(address(master), folder, **options))  # type: ignore[arg-type]
            wait_until(lambda: worker.replies, 10, "the worker's registration is answered")
            assert worker.replies[0] == (wire.ACK, "REGISTERED", b"\x01\x50\x00\x00\x00\x00\x00\x0a")
            return worker

        yield make


def address(cluster: Cluster) -> tuple[str, int]:
    return ("127.0.0.1", cluster.port)


def status(cluster: Cluster, job_id: str) -> str:
    return wire.call(address(cluster), wire.GET_JOB_STATUS, job_id).text


def logs(cluster: Cluster, job_id: str) -> str:
    return wire.call(address(cluster), wire.GET_LOGS, job_id).text


def submit(cluster: Cluster, dag: str) -> None:
    reply = wire.call(address(cluster), wire.SUBMIT_DAG, dag)
    assert (reply.opcode, reply.text) == (wire.ACK, "DAG_ACCEPTED")


def until(cluster: Cluster, job_id: str, state: str, deadline: float = 20.0) -> None:
    wait_until(lambda: status(cluster, job_id) == state, deadline, f"{job_id} is {state}")


# --- registration ---------------------------------------------------------------------------------------------------


def test_a_worker_is_listed_and_registering_again_adds_to_what_it_can_do(master: Cluster, java: MakeWorker) -> None:
    worker = java(slots=3, permanent=True)
    wait_until(lambda: master.workers()[0].slots == 3, 10, "its PONG said how many slots it has")
    line = f" • [{worker.port}] Load: 0/3 (0%)     | Skills: [GENERAL]"
    assert wire.call(address(master), wire.STATS).text.splitlines()[-1] == line
    worker.capability, worker.permanent = "GPU", False
    assert worker.register().text == "REGISTERED"
    (listed,) = master.workers()
    assert (set(listed.capabilities), listed.permanent, listed.classic) == ({"GENERAL", "GPU"}, True, True)
    data = json.loads(wire.call(address(master), wire.STATS_JSON).text)
    assert data["active_workers"] == 1
    expected = {
        "port": worker.port,
        "capabilities": "[GENERAL, GPU]",
        "load": "0/3",
        "active_job": None,
        "history": [],
        "services": [],
    }
    assert expected.items() <= data["workers"][0].items()


def test_a_permanent_worker_is_not_decommissioned_another_one_is(master: Cluster, java: MakeWorker) -> None:
    permanent, passing = java(permanent=True), java()
    refused = wire.call(address(master), wire.KILL_WORKER, f"127.0.0.1|{permanent.port}")
    assert refused.opcode == wire.ERROR
    assert refused.text.startswith("ERROR") and "permanent" in refused.text
    taken = wire.call(address(master), wire.KILL_WORKER, f"localhost|{passing.port}")
    assert taken.opcode == wire.ACK and taken.text.startswith("SUCCESS")
    wait_until(lambda: passing.ended, 10, "the worker was told to end")
    wait_until(lambda: [worker.port for worker in master.workers()] == [permanent.port], 10)
    assert not permanent.ended and wire.KILL_WORKER not in permanent.opcodes()


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_a_job_runs_there_and_its_result_and_log_come_back(master: Cluster, java: MakeWorker) -> None:
    worker = java()
    source = "import sys\nprint('hello', sys.argv[1:])\nprint('a|b;c ü')\n"
    body = payload(source, "one two", name="greet.py")
    assert wire.call(address(master), wire.SUBMIT_JOB, f"greet|{body}|1|0").text == "JOB_ACCEPTED"
    until(master, "greet", "COMPLETED")
    wait_until(lambda: logs(master, "greet") == "hello ['one', 'two']\na|b;c ü", 10)
    assert worker.payloads(wire.STAGE) == [f"greet.py|{b64(source)}"]
    assert worker.payloads(wire.RUN) == ["greet|greet.py|one two"]
    assert worker.replies[-1].text == "ACK_CALLBACK"
    data = json.loads(wire.call(address(master), wire.STATS_JSON).text)
    (past,) = data["workers"][0]["history"]
    assert (past["id"], past["status"]) == ("greet", "COMPLETED")
    assert past["time"].endswith("ms") and past["completed_at"] > 1_600_000_000_000


def test_a_failure_is_charged_and_told_with_its_exit_code(master: Cluster, java: MakeWorker) -> None:
    java()
    key = master.run("import sys\nprint('sorry')\nsys.exit(3)\n", id="fails", retries=1)
    info = master.wait_state(key)
    assert (info.state, info.exit_code, info.attempt) == ("DEAD", 3, 2)
    assert master.log(key).decode().strip() == "sorry"


def test_a_dag_runs_in_its_order(master: Cluster, java: MakeWorker, tmp_path: Path) -> None:
    java(), java()
    trace = tmp_path / "trace"
    source = f"import sys\nopen({str(trace)!r}, 'a').write(sys.argv[1])\n"
    lines = [
        f"d|{payload(source, 'd')}|1|0|[b,c]",
        f"b|{payload(source, 'b')}|1|0|[a]",
        f"c|{payload(source, 'c')}|1|200|[DAG-a]|AFFINITY",
        f"a|GENERAL|{payload(source, 'a')}|9|0|[]",
    ]
    submit(master, " ; ".join(lines))
    until(master, "d", "COMPLETED")
    assert trace.read_text() in ("abcd", "acbd")
    assert [status(master, name) for name in ("DAG-a", "b", "c")] == ["COMPLETED"] * 3


def test_an_archive_runs_and_serves(master: Cluster, java: MakeWorker) -> None:
    worker = java()
    with zipfile.ZipFile(data := io.BytesIO(), "w") as zipped:
        zipped.writestr("src/main.py", "import sys; sys.path.insert(0, '..')\nimport lib\nprint(lib.WORD)")
        zipped.writestr("lib.py", "WORD = 'from the archive'")
        zipped.writestr("serve.py", SERVER)
    assert wire.call(address(master), wire.UPLOAD_ASSET, f"p.zip|{b64(data.getvalue())}").text == "UPLOAD_SUCCESS"
    port = free_port()
    submit(
        master,
        "job|RUN_ARCHIVE|p.zip/src/main.py||GENERAL|1|0|[];"
        f"web|START_ARCHIVE_SERVICE|p.zip/serve.py||{port}|GENERAL|1|0|[job]",
    )
    until(master, "job", "COMPLETED")
    wait_until(lambda: logs(master, "job") == "from the archive", 10)
    wait_for_port(port)
    until(master, "web", "RUNNING")
    assert worker.payloads(wire.RUN_ARCHIVE)[0].startswith("DAG-job|src/main.py|UEsDB")
    assert worker.payloads(wire.START_SERVICE_ARCHIVE)[0].startswith(f"DAG-web|serve.py|{port}|UEsDB")
    assert "    └── ⚙️ Service ID: DAG-web" in wire.call(address(master), wire.STATS).text.splitlines()
    assert json.loads(wire.call(address(master), wire.STATS_JSON).text)["workers"][0]["services"] == ["DAG-web"]
    assert wire.call(address(master), wire.STOP, "web").text == "STOPPED: web"
    until(master, "web", "COMPLETED")
    assert worker.payloads(wire.STOP) == ["DAG-web"]


def test_a_service_that_ends_by_itself_is_started_again(master: Cluster, java: MakeWorker) -> None:
    worker = java()
    port = free_port()
    submit(master, f"web|DEPLOY_PAYLOAD|serve.py|{b64(SERVER)}|{port}|GENERAL|1|0|[]")
    wait_for_port(port)
    until(master, "web", "RUNNING")
    assert worker.payloads(wire.START_SERVICE) == [f"serve.py|DAG-web|{port}"]
    worker.kill_service("DAG-web")
    wait_until(lambda: len(worker.payloads(wire.START_SERVICE)) == 2, 20, "it was started again")
    wait_for_port(port)
    assert "ACK_UNREGISTERED" in [reply.text for reply in worker.replies]
    wire.call(address(master), wire.STOP, "DAG-web")
    until(master, "web", "COMPLETED")


def test_a_running_job_is_cancelled(master: Cluster, java: MakeWorker) -> None:
    worker = java()
    submit(master, f"long|{payload('import time; time.sleep(600)')}|1|0|[];next|{payload('1')}|1|0|[long]")
    until(master, "long", "RUNNING")
    wait_until(lambda: worker.payloads(wire.RUN), 10)
    assert wire.call(address(master), wire.CANCEL_JOB, "long").text == "CANCELLED"
    until(master, "long", "CANCELLED")
    assert worker.payloads(wire.CANCEL_JOB) == ["DAG-long"]
    assert status(master, "next") == "DEAD"


def test_a_saturated_worker_sends_jobs_back_without_a_charge(master: Cluster, java: MakeWorker, tmp_path: Path) -> None:
    worker = java(slots=1, claimed_slots=2)
    gate = tmp_path / "gate"
    submit(master, ";".join(f"j{number}|{payload(WAIT_FOR_FILE, str(gate))}|1|0|[]" for number in range(3)))
    wait_until(lambda: len(worker.payloads(wire.RUN)) >= 3, 20, "it was asked for more than it has room for")
    gate.touch()
    for number in range(3):
        until(master, f"j{number}", "COMPLETED")
    infos = [master.info(f"DAG-j{number}") for number in range(3)]
    assert [info.retries_left for info in infos] == [3, 3, 3]
    assert sum(info.attempt for info in infos) > 3
    assert {execution.outcome for info in infos for execution in info.executions} == {"completed", "handed_back"}


def test_work_goes_where_it_can_be_done(master: Cluster, java: MakeWorker, tmp_path: Path) -> None:
    """An original worker with a GPU, and one of ours: quotes and variables travel to ours alone."""
    original = java(capability="GPU")
    master.start_worker(capabilities="GENERAL,GPU")
    submit(master, ";".join(f"g{n}|{payload('print(1)', requirement='GPU')}|1|0|[]" for n in range(4)))
    for number in range(4):
        until(master, f"g{number}", "COMPLETED")
    key = master.run("import sys; print(sys.argv[1:])", id="quoted", args=("a b", "|"), requirement=("GPU",))
    assert master.wait_state(key).state == "COMPLETED"
    assert master.log(key) == b"['a b', '|']\n"
    submit(master, f"plain|{payload('print(2)')}|1|0|[]")
    until(master, "plain", "COMPLETED")
    ran = {text.partition("|")[0] for text in original.payloads(wire.RUN)}
    assert ran and ran <= {f"DAG-g{number}" for number in range(4)}


# --- what goes wrong ------------------------------------------------------------------------------------------------


def test_a_worker_dies_and_comes_back(master: Cluster, java: MakeWorker, tmp_path: Path) -> None:
    first = java(permanent=True)
    gate = tmp_path / "gate"
    submit(master, f"a|{payload(WAIT_FOR_FILE, str(gate))}|1|0|[];b|{payload('print(1)')}|1|0|[a]")
    wait_until(lambda: first.payloads(wire.RUN), 10)
    first.stop()
    until(master, "a", "PENDING")
    wait_until(lambda: not json.loads(wire.call(address(master), wire.STATS_JSON).text)["active_workers"], 10)
    second = java(port=first.port)
    wait_until(lambda: second.payloads(wire.RUN), 10)
    gate.touch()
    until(master, "b", "COMPLETED")
    info = master.info("DAG-a")
    assert (info.attempt, info.retries_left) == (2, 3)
    assert [execution.outcome for execution in info.executions] == ["lost", "completed"]


def test_a_worker_that_hangs_is_dead_although_it_registers_until_it_answers_again(
    master: Cluster, java: MakeWorker, tmp_path: Path
) -> None:
    hanging = java(register_s=0.5)
    gate = tmp_path / "gate"
    submit(master, f"a|{payload(WAIT_FOR_FILE, str(gate))}|1|0|[]")
    wait_until(lambda: hanging.payloads(wire.RUN), 10)
    hanging.freeze()
    wait_until(lambda: master.info("DAG-a").executions[0].outcome == "lost", 20, "its silence was noticed")
    hanging.thaw()
    gate.touch()
    until(master, "a", "COMPLETED")
    assert master.info("DAG-a").retries_left == 3


def test_a_result_finds_the_master_that_was_started_again(master: Cluster, java: MakeWorker, tmp_path: Path) -> None:
    worker = java(register_s=0.5)
    gate = tmp_path / "gate"
    submit(master, f"a|{payload(WAIT_FOR_FILE, str(gate))}|1|0|[];b|{payload('print(2)')}|1|0|[a]")
    wait_until(lambda: worker.payloads(wire.RUN), 10)
    master.programs[0].kill()
    gate.touch()
    master.start_master("--heartbeat-seconds", "0.2", "--lease-seconds", "5")
    until(master, "b", "COMPLETED")
    assert len([text for text in worker.payloads(wire.RUN) if text.startswith("DAG-a|")]) == 1, "it ran once"
    assert master.info("DAG-a").attempt == 1


def test_log_lines_of_peers_that_never_read_their_replies(master: Cluster, java: MakeWorker, tmp_path: Path) -> None:
    worker = java()
    gate = tmp_path / "gate"
    submit(master, f"a|{payload(WAIT_FOR_FILE, str(gate))}|1|0|[]")
    wait_until(lambda: worker.payloads(wire.RUN), 10)
    wire.tell(address(master), wire.LOG_BATCH, "DAG-a|one\ntwo | with pipes")
    wait_until(lambda: logs(master, "a") == "one\ntwo | with pipes", 10)
    with socket.create_connection(address(master)) as sock:  # ends with a reset, as when the peer crashes
        sock.sendall(wire.frame(wire.LOG_STREAM, "DAG-a|three"))
        wait_until(lambda: logs(master, "a").endswith("\nthree"), 10)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    wire.tell(address(master), wire.LOG_BATCH, "DAG-other|nobody asked for this")
    gate.touch()
    until(master, "a", "COMPLETED")
    wait_until(lambda: logs(master, "a") == "one\ntwo | with pipes\nthree\nseen", 10)


def test_reports_of_jobs_that_run_elsewhere_change_nothing(master: Cluster, java: MakeWorker, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    master.start_worker()
    key = master.run(WAIT_FOR_FILE, id="ours", args=(str(gate),))
    master.wait_state(key, "RUNNING")
    java(capability="GPU")
    assert wire.call(address(master), wire.JOB_COMPLETE, "ours|FAILED|FAILED|1|forged").text == "ACK_CALLBACK"
    assert wire.call(address(master), wire.LOG_STREAM, "ours|forged").text == "ACK_LOG"
    assert wire.call(address(master), wire.UNREGISTER_SERVICE, "ours").text == "ACK_UNREGISTERED"
    gate.touch()
    info = master.wait_state(key)
    assert (info.state, info.attempt) == ("COMPLETED", 1)
    assert master.log(key) == b"seen\n"


# --- scripts written for the original -------------------------------------------------------------------------------

RAW_SOCKET_SCRIPT = """
import base64, os, socket, struct, sys

def ask(opcode, text):
    with socket.create_connection((os.environ["TITAN_HOST"], int(os.environ["TITAN_PORT"]))) as sock:
        sock.sendall(struct.pack(">BBBBI", 1, opcode, 0, 0, len(text.encode())) + text.encode())
        data = b""
        while piece := sock.recv(4096):
            data += piece
    return data[8:].decode()

print(ask(0x60, "agent:plan|go on"), ask(0x61, "agent:plan"), ask(0x62, "agent:seen|x"), ask(0x63, "agent:seen"))
child = base64.b64encode(b"print('the child ran')").decode()
print(ask(0x04, f"child|RUN_PAYLOAD|child.py||{child}|GENERAL|5|0|[]"))
"""


def test_a_script_written_for_the_original_runs_on_our_worker(master: Cluster) -> None:
    """It talks to the master by raw sockets: state, and a child job."""
    master.start_worker()
    assert wire.call(address(master), wire.DEPLOY_SCRIPT, f"agent.py|{b64(RAW_SOCKET_SCRIPT)}").text == "DEPLOY_SUCCESS"
    queued = wire.call(address(master), wire.RUN, "agent.py").text
    job_id = queued.removeprefix("JOB_QUEUED").partition(" on ")[0]
    until(master, job_id, "COMPLETED")
    until(master, "child", "COMPLETED")
    assert logs(master, job_id) == "OK go on 1 x\nDAG_ACCEPTED"
    assert logs(master, "child") == "the child ran"
