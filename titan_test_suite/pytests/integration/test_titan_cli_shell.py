"""The operator's shell: every command on its own, for scripts, and typed at a terminal."""

from __future__ import annotations

import base64
import errno
import json
import os
import pty
import re
import select
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from titan_sdk.messages import WorkerInfo
from titan_test_suite.pytests.cluster import Cluster, wait_until

ROOT = Path(__file__).resolve().parents[3]
CLI = str(ROOT / "titan_core" / "TitanCli.py")

MONITOR = re.compile(
    r"--- TITAN SYSTEM MONITOR ---\n"
    r"Active Workers:    1\n"
    r"Execution Queue:   0 jobs\n"
    r"Delayed \(Time\):    0 jobs\n"
    r"Blocked \(DAG\):     0 jobs\n"
    r"Dead Letter \(DLQ\): \d+ jobs\n"
    r"-{31}\n"
    r"Worker Status:\n"
    r" • \[\d+\] Load: 0/4 \(0%\) +\| Skills: \[GENERAL\]\n"
)


class Cli:
    """The command line of a cluster's operator."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster

    def __call__(self, *words: str, code: int = 0, stdin: str | None = None) -> str:
        """What a command printed, once it ended with ``code``; of one that failed, what it said on stderr."""
        done = subprocess.run(
            [sys.executable, CLI, *words],
            env=self.cluster.environment(),
            cwd=self.cluster.root,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == code, f"{words} ended {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr
        if code == 0:
            assert done.stderr == ""
            return done.stdout
        assert done.stderr, "what failed says why"
        return done.stderr

    def json(self, *words: str) -> object:
        """The one JSON value a command prints."""
        text = self("--json", *words)
        assert text.count("\n") == 1
        return json.loads(text)

    def accepted(self, *words: str) -> str:
        """The key of the job that a command submitted."""
        answer = self.json(*words)
        assert isinstance(answer, dict)
        return str(answer["jobs"][0])

    def file(self, name: str, text: str) -> str:
        """Put a file into perm_files, by hand."""
        (self.cluster.perm_files / name).write_text(text, encoding="utf-8")
        return name


@pytest.fixture
def cli(shared_cluster: Cluster) -> Cli:
    return Cli(shared_cluster)


@pytest.fixture
def own(small_cluster: Cluster) -> Cli:
    """Of a cluster that nobody else uses."""
    return Cli(small_cluster)


# --- the cluster ----------------------------------------------------------------------------------------------------


def test_stats_looks_as_the_original_did(cli):
    assert MONITOR.match(cli("stats"))


def test_statistics_as_json(cli):
    for text in (cli("json"), cli("stats", "--json"), cli("--json", "stats")):
        data = json.loads(text)
        assert data["active_workers"] == 1
        (worker,) = data["workers"]
        assert (worker["load"], worker["capabilities"], worker["active_job"]) == ("0/4", "[GENERAL]", None)


def test_workers(cli):
    (worker,) = cli.json("workers")
    assert set(worker) == set(WorkerInfo.__struct_fields__), "scripts get every field, defaults too"
    assert (worker["slots"], worker["state"], worker["capabilities"]) == (4, "alive", ["GENERAL"])
    assert re.search(rf"{worker['port']} +alive +0/4 +GENERAL", cli("workers"))


def test_a_worker_is_spawned_and_decommissioned(own):
    key = own.accepted("deploy", "Worker.jar", str(port := free_port()), "GPU")
    spawned = wait_until(
        lambda: [each for each in own.cluster.workers() if each.port == port and each.state == "alive"], 30
    )[0]
    assert spawned.capabilities == ("GPU",)
    assert str(port) in own("shutdown", spawned.host, str(port))
    assert own.cluster.wait_state(key).state in ("COMPLETED", "CANCELLED")
    wait_until(lambda: not [each for each in own.cluster.workers() if each.port == port and each.state != "dead"], 30)


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- jobs -----------------------------------------------------------------------------------------------------------


def test_upload_run_follow(cli, tmp_path):
    script = tmp_path / "echo.py"
    script.write_text("import sys\nprint(sys.argv[1:])\nsys.stdout.buffer.write(b'\\xff\\x00raw')\n", encoding="utf-8")
    assert cli("upload", str(script)) == "uploaded: echo.py\n"
    assert cli("upload", str(script)) == "uploaded: echo.py (replaced)\n"
    assert (cli.cluster.perm_files / "echo.py").read_bytes() == script.read_bytes()
    key = cli.accepted("run", "echo.py", "a b", "--json", "-x")
    printed = subprocess.run(
        [sys.executable, CLI, "logs", key, "-f"], env=cli.cluster.environment(), capture_output=True, timeout=60
    )
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout == b"['a b', '--json', '-x']\n\xff\x00raw"
    job = cli.json("job", key)
    assert (job["state"], job["exit_code"], job["attempt"]) == ("COMPLETED", 0, 1)
    shown = cli("job", key)
    assert "COMPLETED" in shown and re.search(r"exit code +0", shown)


def test_following_a_log_goes_on_through_a_retry(cli):
    source = "import os, sys\nprint('attempt', os.environ['TITAN_ATTEMPT'], flush=True)\n"
    source += "sys.exit(os.environ['TITAN_ATTEMPT'] == '1')\n"
    key = cli.accepted("run", cli.file("twice.py", source))
    text = cli("logs", "-f", key)
    assert "attempt 2" in text
    assert cli.json("job", key)["attempt"] == 2
    assert cli("logs", key) == "attempt 2\n", "without -f: what the latest attempt printed"


def test_jobs_are_listed_newest_first_by_state_and_number(cli):
    for number in range(3):
        key = cli.accepted("run", "--id", f"listed-{number}", cli.file("nothing.py", ""))
        cli.cluster.wait_state(key)
    listed = cli.json("jobs", "-n", "2")
    assert [job["id"] for job in listed["jobs"]] == ["listed-2", "listed-1"]
    assert listed["total"] >= 3
    text = cli("jobs", "-n", "2")
    assert text.index("listed-2") < text.index("listed-1") and "listed-0" not in text
    assert re.search(r"\d+ more", text)
    assert cli("jobs", "running") == "No RUNNING jobs.\n"
    assert all(job["state"] == "COMPLETED" for job in cli.json("jobs", "completed")["jobs"])
    assert cli("jobs", "nosuch", code=2).startswith("error: 'nosuch' is not a state: WAITING, DELAYED, ")


def test_deploy_and_stop_a_service(cli):
    source = "import os, http.server as s\ns.HTTPServer(('127.0.0.1', int(os.environ['PORT'])),"
    source += " s.SimpleHTTPRequestHandler).serve_forever()\n"
    key = cli.accepted("deploy", cli.file("server.py", source), str(free_port()))
    wait_until(lambda: cli.cluster.info(key).ready, 20, "the service is ready")
    assert f"    └── ⚙️ Service ID: {cli.cluster.info(key).id}\n" in cli("stats")
    cli("stop", key)
    assert cli.cluster.wait_state(key).state == "COMPLETED"


def test_cancel(cli):
    key = cli.accepted("run", cli.file("long.py", "import time\ntime.sleep(600)\n"))
    cli.cluster.wait_state(key, "RUNNING")
    assert key in cli("cancel", key)
    assert cli.cluster.wait_state(key).state == "CANCELLED"
    assert cli("cancel", key) == f"{key} had ended before\n"


def test_a_raw_dag_and_a_raw_job(cli):
    def payload(name: str, source: str) -> str:
        return f"GENERAL|RUN_PAYLOAD|{name}||{base64.b64encode(source.encode()).decode()}|GENERAL"

    first, second = payload("one.py", "print('one')"), payload("two.py", "print('two')")
    assert cli("dag", f"RAW_1|{first}|1|0|[] ; RAW_2|{second}|1|0|[RAW_1]").splitlines() == [
        "DAG_ACCEPTED",
        "accepted: DAG-RAW_1",
        "accepted: DAG-RAW_2",
    ]
    assert cli.cluster.wait_state("RAW_2").state == "COMPLETED"
    assert cli("logs", "DAG-RAW_2") == "two\n"
    body = first.removeprefix("GENERAL|")
    assert cli("submit", "GENERAL", body) == "JOB_ACCEPTED\n"


# --- what goes wrong ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "no-such-file.py"), "no-such-file.py"),
        (("job", "no-such-job"), "no-such-job"),
        (("logs", "no-such-job"), "no-such-job"),
        (("cancel", "no-such-job"), "no-such-job"),
        (("stop", "no-such-job"), "no-such-job"),
        (("shutdown", "127.0.0.1", "1"), "127.0.0.1:1"),
        (("upload", "no-such-file"), "no-such-file"),
        (("dag", "A|nonsense|1|0|[B]"), "line 1"),
        (("submit", "GENERAL", "PDF_CONVERT|x"), "PDF_CONVERT"),
        (("deploy", "../../etc/passwd"), "passwd"),
    ],
)
def test_what_the_master_refuses_is_code_1_and_one_line(cli, words, said):
    text = cli(*words, code=1)
    assert text.startswith("error: ") and said in text and text.count("\n") == 1
    refused = json.loads(cli("--json", *words, code=1))
    assert said in refused["error"]["message"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("destroy",), "there is no command 'destroy'"),
        (("run",), "the following arguments are required: file\n"),
        (("shutdown", "h", "x"), "argument port"),
        (("shutdown", "h", "0"), "port 0 is out of range"),
        (("deploy", "a.py", "1", "G|P"), "'G|P' is not a capability"),
        (("dag",), "raw_dag is missing"),
        (("submit", "GENERAL"), "data is missing"),
        (("job", "a", "b"), "unrecognized arguments: b"),
        (("--port", "x", "stats"), "argument --port"),
        (("--port", "70000", "stats"), "port 70000 is out of range"),
    ],
)
def test_wrong_usage_is_code_2(cli, words, said):
    text = cli(*words, code=2)
    assert text.startswith("error: ") and said in text


def test_a_master_that_is_away_is_code_2_and_one_line_that_tells_how_to_start_it(cli):
    port = str(free_port())
    for words in (("stats",), ("run", "x.py"), ("dag", "A|x|1|0|[]"), ("logs", "x"), ("upload", CLI)):
        text = cli("--port", port, *words, code=2)
        assert re.fullmatch(rf"error: no master at 127\.0\.0\.1:{port} .*TitanMaster\.py.*\n", text)


def test_help(cli):
    listing = cli("help")
    assert re.search(r"^run <file> \[args...\] +Run a file", listing, re.MULTILINE)
    assert "--priority" in cli("help", "run")
    assert "\nexit " in listing and "Leave the shell" in cli("help", "exit")
    assert "no command 'x'" in cli("help", "x", code=1)


def test_a_reader_that_has_enough_ends_it_quietly(cli):
    key = cli.accepted("run", cli.file("much.py", "print('x' * 1000000)\n"))
    cli.cluster.wait_state(key)
    done = subprocess.run(
        f"{sys.executable} {CLI} logs {key} | head -c 10",
        shell=True,
        env=cli.cluster.environment(),
        capture_output=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (b"x" * 10, b"")


# --- the shell ------------------------------------------------------------------------------------------------------


def test_lines_from_a_pipe(cli):
    text = cli(stdin='stats\n\nrun nothing-here.py\njobs "\nexit\nstats\n', code=2)
    assert text.splitlines()[0] == "error: no file 'nothing-here.py' in perm_files/" or "nothing-here.py" in text
    assert "no closing quotation" in text
    text = cli(stdin="workers\nquit\n")
    assert "[INFO] TITAN DISTRIBUTED ORCHESTRATOR" in text
    assert max(map(len, text.partition("titan> ")[0].splitlines())) <= 100
    assert f"Connected to: 127.0.0.1:{cli.cluster.port}" in text
    assert "Commands: " in text and "stats, json, workers, " in text and text.count("titan> ") == 2


def test_an_end_of_input_ends_it(cli):
    assert "titan> " in cli(stdin="")


TAKE_TERMINAL = (
    "import fcntl, os, sys, termios\nfcntl.ioctl(0, termios.TIOCSCTTY, 0)\nos.execv(sys.argv[1], sys.argv[1:])"
)
"""Makes stdin the terminal of the new session, so that a Ctrl-C reaches it, and becomes the program."""


class Terminal:
    """The shell at a terminal. ``expect`` reads what it shows; ``type`` is a person."""

    def __init__(self, cluster: Cluster) -> None:
        self._master, slave = pty.openpty()
        environment = cluster.environment(TERM="xterm", PROMPT_TOOLKIT_NO_CPR="1", COLUMNS="120", LINES="40")
        self.process = subprocess.Popen(
            [sys.executable, "-c", TAKE_TERMINAL, sys.executable, "-m", "titan_core.TitanCli"],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env=environment | {"PYTHONPATH": str(ROOT), "TITAN_PERM_FILES": str(cluster.perm_files)},
            cwd=cluster.root,
            start_new_session=True,
        )
        os.close(slave)
        self._seen = ""

    def type(self, text: str) -> None:
        os.write(self._master, text.encode())

    def expect(self, pattern: str, deadline_s: float = 20.0) -> None:
        """Wait until the pattern was shown since the last one that was waited for."""
        end = time.monotonic() + deadline_s
        while not (found := re.search(pattern, self._seen)):
            ready, _, _ = select.select([self._master], [], [], max(0.0, end - time.monotonic()))
            assert ready, f"not shown: {pattern!r}; shown: {self._seen!r}"
            try:
                data = os.read(self._master, 65536)
            except OSError as error:  # Linux says so at the end of a terminal
                assert error.errno == errno.EIO
                data = b""
            assert data, f"ended without {pattern!r}; shown: {self._seen!r}"
            self._seen += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", data.decode("utf-8", "replace"))
        self._seen = self._seen[found.end() :]

    def complete(self, begun: str, whole: str) -> None:
        """Type the beginning of a line and a tab, wait until the line is whole, and enter it."""
        self.type(begun)
        self.expect(re.escape(begun))
        if begun != whole:
            self.type("\t")
            self.expect(re.escape(whole.removeprefix(begun)))
        self.type("\r")

    def close(self) -> int:
        code = self.process.wait(20)
        os.close(self._master)
        return code


@pytest.fixture
def terminal(small_cluster: Cluster) -> Iterator[Terminal]:
    terminal = Terminal(small_cluster)
    yield terminal
    if terminal.process.poll() is None:
        terminal.process.kill()
        terminal.close()


def test_at_a_terminal(small_cluster, terminal):
    (small_cluster.perm_files / "completed_file.py").write_text("print('it ran')\n", encoding="utf-8")
    terminal.expect("Connected to: 127")
    terminal.expect("titan>")
    terminal.complete("sta", "stats")
    terminal.expect("Active Workers:    1")
    terminal.expect("titan>")
    terminal.complete("run --id seen completed_", "run --id seen completed_file.py")
    terminal.expect(r"accepted: \S+/seen")
    small_cluster.wait_state("seen")
    terminal.expect("titan>")
    terminal.complete("logs seen", "logs seen")
    terminal.expect("it ran")
    terminal.expect("titan>")

    # a line typed in vain, and a command that is interrupted, lead back to the prompt
    terminal.type("half a li\x03")
    terminal.expect("titan>")
    key = small_cluster.run("import time; print('on and on', flush=True); time.sleep(600)")
    terminal.type(f"logs -f {key}\r")
    terminal.expect("on and on\r?\n")
    terminal.type("\x03")
    terminal.expect("titan>")
    terminal.type(f"cancel {key}\r")
    terminal.expect(f"{key}")

    # the master goes and comes back: the shell finds it again by itself
    small_cluster.programs[0].terminate()
    terminal.expect("titan>")
    terminal.type("workers\r")
    terminal.expect("error: no master at")
    terminal.expect("titan>")
    small_cluster.start_master()
    terminal.type("jobs\r")
    terminal.expect(r"/seen +COMPLETED")
    terminal.expect("titan>")
    terminal.type("exit\r")
    assert terminal.close() == 0

    history = small_cluster.home / "cli_history"
    assert "run --id seen completed_file.py" in history.read_text(encoding="utf-8")
