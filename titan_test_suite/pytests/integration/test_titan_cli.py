"""Pipelines from the command line, as a person or a script uses it, on real clusters."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import shlex
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from titan_dev.processes import free_ports
from titan_sdk import __version__
from titan_sdk.messages import ListJobs, Stop
from titan_test_suite.pytests.cluster import ROOT, Cluster, Program, wait_until

CLI = str(ROOT / "titan_sdk" / "titan_cli.py")

DONE = (
    "name: Done\njobs:\n- {id: first, file: say.py, args: [one]}\n- {id: second, file: say.py, depends_on: [first]}\n"
)
SCRIPTS = {
    "say.py": "import sys\nprint('said', *sys.argv[1:])\n",
    "fail.py": "import sys\nfor n in range(100): print('line', n)\nsys.exit('the last \\033[31mword')\n",
    # A job that runs until somebody makes the file it is told.
    "until.py": "import os, sys, time\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.02)\nprint('seen')\n",
    "serve.py": (
        "import os, socket\ns = socket.create_server(('127.0.0.1', int(os.environ['PORT'])))\n"
        "while True: s.accept()[0].close()\n"
    ),
}


class Cli:
    """The command line, in a folder of its own with scripts to run."""

    def __init__(self, cluster: Cluster, folder: Path) -> None:
        self.cluster = cluster
        self.folder = folder
        folder.mkdir()
        for name, source in SCRIPTS.items():
            (folder / name).write_text(source)

    def pipeline(self, text: str, name: str = "pipeline.yaml") -> str:
        (self.folder / name).write_text(text)
        return str(self.folder)

    def run(self, *words: str, code: int = 0, port: int | None = None) -> tuple[str, str]:
        """What it wrote on stdout and stderr, once it ended with ``code``."""
        env = self.cluster.environment() if port is None else self.cluster.environment(TITAN_PORT=str(port))
        done = subprocess.run(
            [sys.executable, CLI, *words],
            env=env,
            cwd=self.cluster.root,
            capture_output=True,
            text=True,
            timeout=60,
            stdin=subprocess.DEVNULL,
        )
        assert done.returncode == code, f"{words} ended {done.returncode}:\n{done.stdout}\n{done.stderr}"
        assert "Traceback" not in done.stderr and "\033" not in done.stdout + done.stderr
        return done.stdout, done.stderr

    def json(self, *words: str, code: int = 0) -> Any:
        """The one JSON value that it printed."""
        stdout, stderr = self.run(*words, "--json", code=code)
        assert stderr == "" and stdout.count("\n") == 1
        return json.loads(stdout)

    def start(self, *words: str) -> Program:
        return self.cluster.start("titan_cli", [CLI, *words], PYTHONUNBUFFERED="1")

    def go(self, name: str = "go") -> Path:
        """The file that until.py waits for, when it is told this path."""
        return self.folder / name


@pytest.fixture
def cli(shared_cluster: Cluster, tmp_path: Path) -> Cli:
    return Cli(shared_cluster, tmp_path / "pipeline")


@pytest.fixture
def own(cluster: Cluster, tmp_path: Path) -> Iterator[Cli]:
    """Of a cluster that nobody else uses, with nothing started yet."""
    yield Cli(cluster, tmp_path / "pipeline")


def rows(text: str) -> dict[str, list[str]]:
    """The table at the end: what follows the id in each line of a job."""
    table = text[text.index("\njob ") + 1 :].splitlines()
    assert table[0].split() == ["job", "state", "try", "time", "exit", "worker"]
    return {line.split()[0]: line.split()[1:] for line in table[1 : table.index("") if "" in table else None]}


# --- deploy -------------------------------------------------------------------------------------------------------


def test_deploy_and_wait(cli: Cli) -> None:
    stdout, stderr = cli.run("deploy", cli.pipeline(DONE), "--wait")
    assert stderr == ""
    run_id = re.match(r"Submitted (run-\w+): Done, 2 jobs\n", stdout)
    assert run_id, stdout
    changes = re.findall(r"^\d\d:\d\d:\d\d (\w+) +(\w+)", stdout, re.MULTILINE)
    assert [job for job, state in changes if state == "COMPLETED"] == ["first", "second"]
    table = rows(stdout)
    assert table["first"][:2] == table["second"][:2] == ["COMPLETED", "1"]
    assert table["second"][3] == "0" and re.fullmatch(r"127\.0\.0\.1:\d+", table["second"][4])
    assert stdout.endswith("\n2 COMPLETED\n")
    assert cli.cluster.log("first") == b"said one\n"


def test_deploy_without_waiting_says_what_was_submitted(cli: Cli) -> None:
    value = cli.json("deploy", cli.pipeline(DONE), "--name", "another name")
    assert value["name"] == "another name"
    assert value["jobs"] == [f"{value['run_id']}/first", f"{value['run_id']}/second"]
    assert cli.cluster.wait_run(value["run_id"]).name == "another name"


def test_a_file_is_named_as_well_as_a_folder(cli: Cli) -> None:
    cli.pipeline("this is: [no YAML", "other.yaml")
    cli.pipeline(DONE, "nightly.yaml")
    stdout, _ = cli.run("deploy", str(cli.folder / "nightly.yaml"), "--wait")
    assert "2 COMPLETED" in stdout


def test_what_failed_is_told_with_the_end_of_its_log(cli: Cli) -> None:
    path = cli.pipeline(
        "jobs:\n"
        "- {id: breaks, file: fail.py, retries: 0}\n"
        "- {id: never, file: say.py, depends_on: [breaks]}\n"
        "- {id: fine, file: say.py}\n"
    )
    stdout, stderr = cli.run("deploy", path, "--wait", code=1)
    assert stderr == ""
    table = rows(stdout)
    assert table["breaks"][:2] == ["DEAD", "1"] and table["breaks"][3] == "1"
    assert table["never"] == ["DEAD", "0"]
    assert table["fine"][:2] == ["COMPLETED", "1"]
    told = stdout[stdout.index("\nbreaks is DEAD: exit code 1") :]
    assert "| line 99\n" in told and "| line 80\n" not in told, "the end of the log, and no more"
    assert "| the last \ufffd[31mword\n" in told, "and nothing that a terminal would obey"
    assert "\nnever is" not in told
    assert stdout.endswith("\n2 jobs of 3 failed\n")


def test_what_failed_as_json(cli: Cli) -> None:
    path = cli.pipeline("jobs: [{id: breaks, file: fail.py, retries: 1}, {id: fine, file: say.py}]")
    value = cli.json("deploy", path, "--wait", code=1)
    breaks, fine = value["jobs"]
    assert not value["ok"] and value["name"] == "pipeline"
    assert (breaks["state"], breaks["attempts"], breaks["exit_code"]) == ("DEAD", 2, 1)
    assert breaks["log_tail"][-2] == "line 99" and "exit code 1" in breaks["reason"]
    assert (fine["state"], fine["exit_code"], fine["key"]) == ("COMPLETED", 0, f"{value['run_id']}/fine")
    assert "log_tail" not in fine and fine["ended_at"] >= fine["started_at"] > 0


def test_a_service_is_waited_for_until_it_is_ready(cli: Cli) -> None:
    (port,) = free_ports(1)
    path = cli.pipeline(f"jobs:\n- {{id: web, type: SERVICE, script: serve.py, port: {port}}}\n")
    stdout, _ = cli.run("deploy", path, "--wait")
    assert rows(stdout)["web"][:2] == ["RUNNING", "(ready)"]
    cli.cluster.client.call(Stop(id="web"))
    assert cli.cluster.wait_state("web").state == "COMPLETED"


def test_a_run_has_parameters_and_what_failed_is_run_again(cli: Cli) -> None:
    text = (
        "name: Params\nparams: {day: }\njobs:\n- {id: p-one, file: say.py, args: ['${params.day}']}\n"
        "- {id: p-two, file: once.py, retries: 0, depends_on: [p-one]}\n"
        "- {id: p-three, file: say.py, depends_on: [p-two]}\n"
    )
    flag = cli.folder / "flag"
    (cli.folder / "once.py").write_text(
        f"import os, sys\nsys.exit(not (os.path.exists({str(flag)!r}) and os.environ['TITAN_PARAM_DAY'] == 'mon'))\n"
    )
    path = cli.pipeline(text)
    _, error = cli.run("deploy", path, code=1)
    assert "line 2: the parameter day has no default and was not given; --param day=VALUE gives it" in error
    _, error = cli.run("deploy", path, "--param", "day=mon", "--param", "dya=x", code=1)
    assert "there is no parameter dya; did you mean day?" in error
    _, error = cli.run("deploy", path, "--param", "day", code=2)
    assert error == "error: --param day: NAME=VALUE is wanted\n"
    first = cli.json("deploy", path, "--wait", "--param", "day=mon", code=1)
    assert [job["state"] for job in first["jobs"]] == ["COMPLETED", "DEAD", "DEAD"]
    flag.touch()
    again = cli.json("rerun", "--failed", "--wait", first["run_id"])
    assert [(job["id"], job["state"]) for job in again["jobs"]] == [("p-two", "COMPLETED"), ("p-three", "COMPLETED")]
    output, _ = cli.run("rerun", first["run_id"])
    assert output.endswith(f": 3 jobs of {first['run_id']} again\n")
    _, error = cli.run("rerun", "--failed", again["run_id"], code=1)
    assert f"every job of run {again['run_id']} completed" in error


def test_a_pipeline_with_problems_is_not_submitted(cli: Cli) -> None:
    path = cli.pipeline("name: x\njobs:\n- {id: unheard-of, file: sya.py}\n- {id: b, file: say.py, retires: 1}\n")
    stdout, stderr = cli.run("deploy", path, code=1)
    assert stdout == ""
    assert stderr.splitlines() == [
        f"error: {path}/pipeline.yaml: 2 problems",
        f"  line 3: unheard-of: there is no file sya.py in {path}; did you mean 'say.py'?",
        "  line 4: b: unknown key retires; did you mean retries?",
    ]
    _, stderr = cli.run("deploy", path, "--json", code=1)
    error = json.loads(stderr)["error"]
    assert error["type"] == "PipelineError" and len(error["problems"]) == 2
    assert all(job.id != "unheard-of" for job in cli.cluster.client.call(ListJobs(limit=1000)).jobs)


def test_what_the_master_refuses_is_told_with_lines(cli: Cli) -> None:
    go = cli.go()
    path = cli.pipeline(f"jobs:\n- {{id: busy, file: until.py, args: ['{go}']}}\n")
    cli.run("deploy", path)
    stdout, stderr = cli.run("deploy", path, code=1)
    assert stdout == "" and stderr.startswith("error: ") and "busy" in stderr
    go.touch()
    assert cli.cluster.wait_state("busy").state == "COMPLETED"


def test_wrong_usage_and_no_master(cli: Cli) -> None:
    path = cli.pipeline(DONE)
    for words, said in (
        ((), "required: COMMAND; titan_cli.py --help tells more"),
        (("deploy",), "required: path; titan_cli.py deploy --help tells more"),
        (("deploi", path), "invalid choice: 'deploi'"),
        (("deploy", path, "--wiat"), "--wiat"),
        (("deploy", path + "/nothing"), "there is no such file or folder"),
        (("deploy", path, "--port", "70000"), "port 70000 is out of range"),
        (("deploy", path, "--port", "x"), "invalid int value"),
        (("deploy", path, "--name", "a\nb"), "cannot be a run's name"),
        (("deploy", path, "--port", "1"), "no master to ask (cannot reach 127.0.0.1:1"),
        (("--port", "1", "deploy", path), "no master to ask (cannot reach 127.0.0.1:1"),
        (("cancel", "run-1", "--port", "1"), "no master to ask"),
    ):
        stdout, stderr = cli.run(*words, code=2)
        assert stdout == "" and stderr.count("\n") == 1
        assert stderr.startswith("error: ") and said in stderr, stderr


def test_a_folder_without_a_pipeline_and_one_with_two(cli: Cli) -> None:
    _, stderr = cli.run("validate", str(cli.folder), code=1)
    assert "the folder holds no pipeline" in stderr
    cli.pipeline(DONE, "a.yaml")
    cli.pipeline(DONE, "b.yml")
    _, stderr = cli.run("deploy", str(cli.folder), code=1)
    assert "several pipelines (a.yaml, b.yml)" in stderr


# --- what happens while it waits ----------------------------------------------------------------------------------


def test_ctrl_c_leaves_the_run_alone_and_says_how_to_cancel_it(cli: Cli) -> None:
    path = cli.pipeline(f"jobs: [{{id: endless, file: until.py, args: ['{cli.go()}']}}]")
    program = cli.start("deploy", path, "--wait", "--host", "127.0.0.1", "--port", str(cli.cluster.port))
    program.wait_for_line(r"endless RUNNING on ")
    program.signal(signal.SIGINT)
    assert program.wait() == 130
    said = program.wait_for_line(r"error: interrupted; (run-\w+) goes on. To cancel it: (.*)")
    assert "Traceback" not in program.log_text()
    key = f"{said[1]}/endless"
    assert cli.cluster.info(key).state == "RUNNING"
    command = shlex.split(said[2])
    assert command[0] == "python"
    done = subprocess.run(
        [sys.executable, *command[1:]], env=cli.cluster.environment(TITAN_PORT="1"), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{said[1]} is cancelled\n", "")
    assert cli.cluster.wait_state(key).state == "CANCELLED"
    assert cli.json("cancel", said[1]) == {"id": said[1], "cancelled": False}
    _, stderr = cli.run("cancel", "run-unknown", code=1)
    assert "run-unknown" in stderr


def test_a_cancelled_job_is_no_success(cli: Cli) -> None:
    path = cli.pipeline(f"jobs: [{{id: unwanted, file: until.py, args: ['{cli.go()}']}}]")
    program = cli.start("deploy", path, "--wait")
    program.wait_for_line(r"unwanted RUNNING on ")
    assert cli.run("cancel", "unwanted")[0] == "unwanted is cancelled\n"
    assert program.wait() == 1
    assert "unwanted is CANCELLED" in program.log_text()


def test_the_master_is_killed_and_comes_back_while_it_waits(own: Cli) -> None:
    master = own.cluster.start_master()
    own.cluster.start_worker()
    path = own.pipeline(
        f"jobs:\n- {{id: long, file: until.py, args: ['{own.go()}']}}\n"
        "- {id: after, file: say.py, depends_on: [long]}\n"
    )
    program = own.start("deploy", path, "--wait")
    program.wait_for_line(r"long +RUNNING on ")
    master.kill()
    program.wait_for_line(r"the master at 127.0.0.1:\d+ does not answer")
    own.go().touch()
    own.cluster.start_master()
    assert program.wait(60) == 0
    text = program.log_text()
    assert "2 COMPLETED" in text and "Traceback" not in text
    assert rows(text)["long"][:2] == ["COMPLETED", "1"]


def test_waiting_for_a_capability_that_no_worker_has_is_told(own: Cli) -> None:
    own.cluster.start_master()
    own.cluster.start_worker()
    program = own.start("deploy", own.pipeline("jobs: [{id: a, file: say.py, requirement: GPU}]"), "--wait")
    program.wait_for_line(r"a PENDING: no worker with GPU")
    own.cluster.start_worker(name="gpu", capabilities="GPU")
    assert program.wait() == 0


def test_on_a_terminal_the_progress_is_drawn_in_place(cli: Cli) -> None:
    path = cli.pipeline(f"jobs:\n- {{id: drawn, file: until.py, args: ['{cli.go()}']}}\n")
    here, there = pty.openpty()
    fcntl.ioctl(there, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    with subprocess.Popen(
        [sys.executable, CLI, "deploy", path, "--wait"],
        stdin=there,
        stdout=there,
        stderr=there,
        env=cli.cluster.environment(TERM="xterm-256color"),
    ) as process:
        os.close(there)
        try:
            output = b""

            def running() -> bool:
                nonlocal output
                output += os.read(here, 65536)
                return re.search(rb"drawn  \x1b\[36mRUNNING", output) is not None

            wait_until(running, 30, "the job is shown as running")
            cli.go().touch()
            while piece := _read(here):
                output += piece
            assert process.wait(30) == 0
        finally:
            process.kill()
            os.close(here)
    text = output.decode()
    assert "\x1b[2K" in text, "drawn over"
    end = text[text.rindex("\x1b[2K") :]
    assert "exit" in end and "COMPLETED" in end and end.rstrip().endswith("1 COMPLETED")
    assert "\x1b[?25h" in text, "the cursor is back"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # the other end is closed
        return b""


def test_who_reads_it_may_have_enough(cli: Cli) -> None:
    path = cli.pipeline(DONE)
    command = f"{shlex.join([sys.executable, CLI, 'deploy', path, '--wait'])} | head -n 1"
    done = subprocess.run(
        ["sh", "-c", command], env=cli.cluster.environment(), capture_output=True, text=True, timeout=60
    )
    assert done.stdout.startswith("Submitted run-") and done.stderr == ""


# --- validate, and without a cluster ------------------------------------------------------------------------------


def test_validate_needs_no_master(own: Cli) -> None:
    path = own.pipeline(DONE)
    assert own.run("validate", path) == (f"{path}/pipeline.yaml is fine: Done, 2 jobs\n", "")
    assert own.json("validate", path) == {
        "ok": True,
        "file": f"{path}/pipeline.yaml",
        "name": "Done",
        "jobs": ["first", "second"],
        "problems": [],
    }


def test_validate_names_every_problem_with_its_line(own: Cli) -> None:
    path = own.pipeline("name: x\njobs:\n- id: a\n  file: say.py\n  port: 99999\n- id: b\n  file: nothing\n")
    stdout, stderr = own.run("validate", path, code=1)
    assert stderr == ""
    assert stdout.splitlines() == [
        f"{path}/pipeline.yaml: 2 problems",
        "  line 5: a: port: 99999 is out of range; 1 to 65535 is wanted",
        f"  line 7: b: there is no file nothing in {path}",
    ]
    value = own.json("validate", path, code=1)
    assert not value["ok"] and value["name"] is None
    assert value["problems"][0] == {
        "line": 5,
        "where": "a",
        "text": "port: 99999 is out of range; 1 to 65535 is wanted",
    }


def test_help_and_version(own: Cli) -> None:
    assert own.run("--version") == (f"titan-sdk {__version__}\n", "")
    text, _ = own.run("--help")
    for word in ("deploy", "validate", "cancel", "--host", "--port", "--json", "Exit codes"):
        assert word in text
    text, _ = own.run("deploy", "--help")
    assert "--wait" in text and "--name" in text


def test_it_runs_where_the_engine_is_not(tmp_path: Path, own: Cli) -> None:
    (tmp_path / "alone").mkdir()
    (tmp_path / "alone" / "titan_sdk").symlink_to(ROOT / "titan_sdk")
    code = f"import sys; sys.path = [p for p in sys.path if p != {str(ROOT)!r}]; sys.path.insert(0, '.')\n"
    code += "from titan_sdk.titan_cli import main\n"
    code += f"code = main(['validate', {own.pipeline(DONE)!r}])\n"
    code += "assert not [n for n in sys.modules if n.partition('.')[0] == 'titan_core']\nsys.exit(code)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path / "alone", capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "is fine" in done.stdout
