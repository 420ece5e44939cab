"""./titan-dev: the environment it makes, the cluster it runs, and what it says when it cannot."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_dev import environment as environment_module
from titan_dev import main as titan_dev
from titan_dev.environment import Environment, SetupFailed
from titan_dev.processes import free_ports
from titan_test_suite.pytests.cluster import Cluster, Program, wait_until

ROOT = Path(__file__).resolve().parents[3]

COMMAND = """
import argparse, importlib, sys
module = importlib.import_module(sys.argv.pop(1))
parser = argparse.ArgumentParser()
module.add_arguments(parser)
sys.exit(module.run(parser.parse_args(), []))
"""
"""Runs a command of titan-dev with the Python of the tests, which has everything already."""


# --- the environment ------------------------------------------------------------------------------------------------


@pytest.fixture
def project(tmp_path: Path) -> Environment:
    """A project that pins nothing, so that setting it up needs no network."""
    (tmp_path / "requirements-dev.txt").write_text("# nothing\n", encoding="utf-8")
    return Environment(tmp_path, tmp_path / ".venv", lambda text: None, editable=())


def talkative(project: Environment) -> tuple[Environment, list[str]]:
    said: list[str] = []
    return Environment(project.root, project.folder, said.append, editable=()), said


def version_of(python: Path) -> str:
    return subprocess.run(
        [python, "-c", "import pip, sys; print(sys.prefix)"], capture_output=True, text=True
    ).stdout.strip()


def test_a_missing_environment_is_made_and_a_ready_one_left_alone(project):
    project, said = talkative(project)
    project.ensure()
    assert any("making" in line for line in said) and any("installing" in line for line in said)
    assert version_of(project.python) == str(project.folder)
    del said[:]
    before = (project.folder / "pyvenv.cfg").stat().st_mtime_ns
    project.ensure()
    assert said == []
    assert (project.folder / "pyvenv.cfg").stat().st_mtime_ns == before

    # other pins: installed anew, in the same environment
    (project.root / "requirements-dev.txt").write_text("# other\n", encoding="utf-8")
    assert not project.ready()
    project.ensure()
    assert any("installing" in line for line in said) and not any("making" in line for line in said)
    assert project.ready()

    # what is broken is made anew
    project.python.unlink()
    del said[:]
    project.ensure()
    assert any("broken" in line for line in said)
    assert version_of(project.python) == str(project.folder)


def test_a_half_made_environment_is_remade(project):
    """What an interrupted first run leaves: a folder with a Python, but no pip in it and no stamp."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(project.folder)], check=True)
    project.ensure()
    assert project.ready()
    assert version_of(project.python) == str(project.folder)


def test_a_failed_installation_is_told_and_tried_again(project):
    (project.root / "requirements-dev.txt").write_text("./no-such-package\n", encoding="utf-8")
    with pytest.raises(SetupFailed) as caught:
        project.ensure()
    assert "no-such-package" in str(caught.value) and "installing failed" in str(caught.value)
    assert not project.ready()
    (project.root / "requirements-dev.txt").write_text("# nothing\n", encoding="utf-8")
    project.ensure()
    assert project.ready()


def test_two_at_once_make_one_environment(project):
    code = "import sys; from pathlib import Path; from titan_dev.environment import Environment as E; "
    code += "r = Path(sys.argv[1]); E(r, r / '.venv', print, editable=()).ensure()"
    command = [sys.executable, "-u", "-c", code, str(project.root)]
    both = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=100)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("making" in text for text in said) == 1
    assert project.ready()


@pytest.mark.parametrize(
    ("system", "advice"),
    [('ID=debian\nVERSION_ID="12"\n', "apt-get install python{v}-venv"), ("ID=fedora\n", "has the module venv")],
)
def test_a_python_without_venv_is_told_with_what_to_install(project, monkeypatch, system, advice):
    monkeypatch.setattr(environment_module, "OS_RELEASE", project.root / "os-release")
    (project.root / "os-release").write_text(system, encoding="utf-8")
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "ensurepip" else find(name))
    with pytest.raises(SetupFailed) as caught:
        project.ensure()
    assert advice.format(v=f"{sys.version_info[0]}.{sys.version_info[1]}") in str(caught.value)
    assert not project.folder.exists()


# --- the program ----------------------------------------------------------------------------------------------------


def run_titan_dev(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(ROOT / "titan-dev"), *arguments],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )


def test_help_is_there_for_every_command_from_anywhere_without_an_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("TITAN_VENV", str(tmp_path / "never"))
    done = run_titan_dev("--help", cwd=tmp_path)
    assert done.returncode == 0
    for name, text in titan_dev.COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(text)}", done.stdout, re.MULTILINE)
        assert run_titan_dev(name, "--help", cwd=tmp_path).returncode == 0
    assert not (tmp_path / "never").exists()


@pytest.mark.parametrize("arguments", [[], ["destroy"], ["up", "--workers", "none"], ["demo", "extra"]])
def test_wrong_usage_is_code_2(tmp_path, arguments):
    assert run_titan_dev(*arguments, cwd=tmp_path).returncode == 2


def test_an_old_python_is_told_so(tmp_path):
    code = f"import sys; sys.version_info = (3, 9, 0); exec(open({str(ROOT / 'titan-dev')!r}).read())"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("titan-dev needs Python 3.10 or newer")
    assert done.stderr.count("\n") == 1


def test_ci_finds_a_python_and_hands_the_arguments_on(tmp_path):
    """With a first Python on PATH that is of no use, as where a shim names a version that is not installed."""
    (tmp_path / "python3").write_text("#!/bin/sh\nexit 127\n", encoding="utf-8")
    (tmp_path / "python3.13").write_text(f'#!/bin/sh\ncase "$1" in -c) exec {sys.executable} "$@";; esac\necho "$@"\n')
    for path in tmp_path.iterdir():
        path.chmod(0o755)
    done = subprocess.run(
        ["bash", str(ROOT / ".ci" / "run"), "-k", "x"],
        env=os.environ | {"PATH": f"{tmp_path}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.returncode) == ("./titan-dev test -k x\n", 0)


# --- up -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def up(cluster: Cluster) -> Iterator[Program]:
    """``titan-dev up`` with two workers, ready; its port is in ``cluster.port``."""
    (cluster.port, dashboard_port), worker_port = free_ports(2), pair_of_ports()
    arguments = ["--port", str(cluster.port), "--worker-port", str(worker_port), "--data", str(cluster.root)]
    arguments += ["--dashboard-port", str(dashboard_port)]
    # The shell that it is typed into may have another master's address.
    environment = {"PYTHONPATH": str(ROOT), "TITAN_HOST": "192.0.2.1"}
    program = cluster.start("up", [sys.executable, "-c", COMMAND, "titan_dev.up", *arguments], **environment)
    program.wait_for_line(r"titan-dev +\| the master listens")
    wait_until(lambda: len(cluster.workers()) == 2, 30, "both workers have registered")
    yield program


def pair_of_ports() -> int:
    """A free port whose next one is free too. (Linux hands out every other port only, so it is not asked for two.)"""
    for first in free_ports(50):
        try:
            socket.create_server(("127.0.0.1", first + 1)).close()
            return first
        except OSError:
            continue
    raise AssertionError("no two free ports beside each other among fifty")


def test_up_runs_jobs_and_one_interrupt_stops_it_cleanly(cluster, up):
    key = cluster.run("print('hello from up')")
    assert cluster.wait_state(key).state == "COMPLETED"
    up.signal(signal.SIGINT)
    assert up.wait(40) == 0
    log = up.log_text()
    assert re.search(r"^master +\| ", log, re.MULTILINE) and re.search(r"^worker 2 +\| ", log, re.MULTILINE)
    assert "stopped" in log.splitlines()[-1]
    assert "Traceback" not in log
    assert not [process for process in cluster.processes() if process.pid != up.pid]
    written = (cluster.root / "titan_data" / "cluster.log").read_text(encoding="utf-8")
    assert written == log, "what it printed is kept for `titan-dev logs`"


def test_a_second_interrupt_hurries(cluster, up):
    key = cluster.run("import time; print('on', flush=True); time.sleep(600)")
    cluster.wait_state(key, "RUNNING")
    up.signal(signal.SIGINT)
    up.wait_for_line("Ctrl-C again to hurry")
    up.signal(signal.SIGINT)
    assert up.wait(30) == 0
    assert not cluster.processes()


def test_up_prints_an_address_of_the_dashboard_that_logs_in_once(cluster, up):
    address = up.wait_for_line(r"(http://127\.0\.0\.1:\d+)(/login\?once=\S+)")
    opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor())
    with opener.open(address[1] + address[2], timeout=10) as first:
        assert b"Overview" in first.read()
    with urllib.request.urlopen(address[1] + address[2], timeout=10) as again:
        assert b"used already" in again.read()
    assert (cluster.root / "titan_data" / "cluster.log").stat().st_mode & 0o077 == 0


def test_up_goes_on_without_a_worker_and_ends_with_an_error_when_the_master_dies(cluster, up):
    children = {" ".join(process.cmdline()): process for process in psutil.Process(up.pid).children()}
    next(process for command, process in children.items() if "TitanWorker" in command).kill()
    up.wait_for_line(r"worker \d ended with code -9; the others go on")
    next(process for command, process in children.items() if "TitanMaster" in command).kill()
    assert up.wait(40) == 1
    assert re.search(r"master ended with code -9; stopping the others", up.log_text())
    wait_until(lambda: not cluster.processes(), 10, "nothing is left")


def test_up_says_that_a_port_is_taken(cluster):
    cluster.start_master()
    arguments = [sys.executable, "-c", COMMAND, "titan_dev.up", "--port", str(cluster.port)]
    program = cluster.start("up", [*arguments, "--data", str(cluster.root)], PYTHONPATH=str(ROOT))
    assert program.wait() == 2
    assert program.log_text() == f"titan-dev: port {cluster.port} is in use\n"


# --- demo, logs -----------------------------------------------------------------------------------------------------


def test_demo_runs_the_pipeline_and_shows_its_result(cluster):
    report = cluster.root / "report"
    argv = [sys.executable, "-c", COMMAND, "titan_dev.demo", "--report", str(report)]
    program = cluster.start("demo", argv, PYTHONPATH=str(ROOT), TMPDIR=str(cluster.root))
    assert program.wait(100) == 0, program.log_text()
    text = program.log_text()
    assert "The most complex functions" in text and str(report / "report.html") in text
    assert re.search(r"^ +1 +\d+ +\d+  \S+", text, re.MULTILINE), "the first of the ranking"
    assert "<svg" in (report / "report.html").read_text(encoding="utf-8")
    assert not list(cluster.root.glob("titan-demo-*")), "its folder is gone"
    assert not cluster.processes()


def test_demo_says_what_went_wrong(cluster):
    """Here: the pipeline is not there."""
    code = "from titan_dev import demo; demo.PIPELINE = 'no/such/pipeline'\n" + COMMAND
    argv = [sys.executable, "-c", code, "titan_dev.demo", "--report", str(cluster.root / "report")]
    program = cluster.start("demo", argv, PYTHONPATH=str(ROOT), TMPDIR=str(cluster.root))
    assert program.wait(60) not in (0, None)
    assert "no/such/pipeline" in program.log_text()
    assert "The cluster's last lines:" in program.log_text()
    assert not cluster.processes()


def test_logs_without_a_cluster_ever(tmp_path, monkeypatch):
    shutil.copytree(ROOT / "titan_dev", tmp_path / "titan_dev", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "titan_dev.logs"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    assert "no cluster was started" in done.stderr
    (tmp_path / "titan_data").mkdir()
    (tmp_path / "titan_data" / "cluster.log").write_text("master | hello\n", encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "titan_dev.logs"], cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "master | hello\n")


def test_arguments_of_the_program_behind_a_command_may_follow_two_dashes():
    for dashes in ([], ["--"]):
        argv = [sys.executable, str(ROOT / "titan-dev"), "bench", *dashes, "--only", "nothing"]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "invalid choice: 'nothing'" in done.stderr
