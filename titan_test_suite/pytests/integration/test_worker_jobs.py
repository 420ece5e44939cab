"""Jobs on a real worker of a real master: what they get, what becomes of their output, and how they end."""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from pathlib import Path
from typing import Any

from titan_sdk.messages import CHILD_WORKERS, CancelJob, JobSpec
from titan_test_suite.pytests.cluster import Cluster, wait_until


def test_a_script_runs_and_its_output_is_kept_byte_for_byte(shared_cluster: Cluster) -> None:
    key = shared_cluster.run("import sys; sys.stdout.buffer.write(bytes(range(256)) + b'no newline at the end')")
    info = shared_cluster.wait_state(key)
    assert (info.state, info.exit_code, info.attempt) == ("COMPLETED", 0, 1)
    assert shared_cluster.log(key) == bytes(range(256)) + b"no newline at the end"
    assert info.log_bytes == 256 + len(b"no newline at the end")
    assert 0 < info.submitted_at <= info.started_at <= info.ended_at


def test_a_job_is_told_who_it_is_and_where_its_data_lies(shared_cluster: Cluster) -> None:
    source = """
import json, os, sys
print(json.dumps({"env": {n: v for n, v in os.environ.items() if n.startswith("TITAN_") or n in ("PORT", "COLOUR")},
                  "argv": sys.argv, "cwd": os.getcwd(), "stdin": sys.stdin.read()}))
"""
    args = ("plain", "two words", "", "a|b;c", "quote'\"", "ünï", "line\nbreak")
    key = shared_cluster.run(source, id="who", file="who am i.py", args=args, env={"COLOUR": "blue"})
    assert shared_cluster.wait_state(key).state == "COMPLETED", shared_cluster.log(key)
    seen = json.loads(shared_cluster.log(key))
    env = seen["env"]
    shared, job_dir = shared_cluster.workspace / "shared", shared_cluster.workspace / "jobs" / "who"
    assert env["TITAN_JOB_ID"] == "who"
    assert env["TITAN_RUN_ID"] == key.partition("/")[0]
    assert env["TITAN_ATTEMPT"] == "1"
    assert (env["TITAN_SHARED_DIR"], env["TITAN_JOB_DIR"]) == (str(shared), str(job_dir))
    assert (env["TITAN_HOST"], env["TITAN_PORT"]) == ("127.0.0.1", str(shared_cluster.port))
    assert env["TITAN_HOME"] == str(shared_cluster.home)
    assert env["COLOUR"] == "blue" and "PORT" not in env
    assert seen["argv"] == [str(job_dir / "who am i.py"), *args]
    assert seen["cwd"] == str(shared)
    assert seen["stdin"] == ""


def test_a_job_may_run_longer_than_one_poll_can_wait(shared_cluster: Cluster) -> None:
    """Silent for a moment, so that its supervisor has nothing else to wait for than the time when it is over."""
    key = shared_cluster.run("import time; time.sleep(0.3); print('done')", id="patient", timeout_s=1e10, retries=0)
    assert shared_cluster.wait_state(key).state == "COMPLETED"


def test_a_variable_that_the_workers_locale_cannot_say_fails_its_job_and_nothing_else(cluster: Cluster) -> None:
    cluster.start_master()
    cluster.start_worker("--slots", "1", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    key = cluster.run("print('never')", id="euro", env={"PRICE": "5 €"}, retries=0)
    info = cluster.wait_state(key)
    assert info.state == "DEAD" and "'PRICE'" in info.reason and "locale" in info.reason
    assert cluster.wait_state(cluster.run("print('still here')", id="after")).state == "COMPLETED"


def test_jobs_with_one_file_name_run_their_own_code(shared_cluster: Cluster) -> None:
    jobs = [shared_cluster.job(f"print('I am {number}')", id=f"same-name-{number}") for number in range(8)]
    run_id = shared_cluster.submit(*jobs).run_id
    shared_cluster.wait_run(run_id)
    for number in range(8):
        assert shared_cluster.log(f"{run_id}/same-name-{number}") == b"I am %d\n" % number


def test_one_content_is_kept_once_whatever_it_is_called(shared_cluster: Cluster) -> None:
    source = "print('once')  # " + "x" * 100_000
    digest = hashlib.sha256(source.encode()).hexdigest()
    jobs = [shared_cluster.job(source, id=f"once-{number}", file=f"once{number}.py") for number in range(6)]
    shared_cluster.wait_run(shared_cluster.submit(*jobs).run_id)
    held = [path for path in shared_cluster.workspace.glob("worker-*/content/*/*") if path.name == digest]
    assert len(held) == 1


def test_a_content_of_many_chunks_arrives_whole(shared_cluster: Cluster) -> None:
    filler = "# " + "0123456789abcdef" * 8 + "\n"
    source = (
        f"import hashlib, sys\n{filler * 60_000}print(hashlib.sha256(open(sys.argv[0], 'rb').read()).hexdigest())\n"
    )
    assert len(source) > 5 * 1024 * 1024
    key = shared_cluster.run(source, id="large")
    assert shared_cluster.wait_state(key).state == "COMPLETED"
    assert shared_cluster.log(key).decode().strip() == hashlib.sha256(source.encode()).hexdigest()


def test_a_project_runs_in_a_sandbox_of_its_own(shared_cluster: Cluster) -> None:
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.writestr("pkg/__init__.py", "")
        zipped.writestr("pkg/words.py", "WORD = 'imported'")
        zipped.writestr("main.py", "import os\nfrom pkg.words import WORD\nopen('made', 'x')\nprint(WORD, os.getcwd())")
    data = archive.getvalue()
    digest = shared_cluster.upload(data)
    fields: dict[str, Any] = {"file": "main.py", "archive": "project.zip", "sha256": digest, "size": len(data)}
    run_id = shared_cluster.submit(JobSpec(id="p1", **fields), JobSpec(id="p2", **fields)).run_id
    shared_cluster.wait_run(run_id)
    for name in ("p1", "p2"):
        folder = shared_cluster.workspace / "jobs" / name / "project"
        assert shared_cluster.log(f"{run_id}/{name}") == f"imported {folder}\n".encode()


def test_failure_is_retried_and_every_attempt_has_its_log(shared_cluster: Cluster) -> None:
    source = "import os, sys\nprint('attempt', os.environ['TITAN_ATTEMPT'])\nsys.exit(3)"
    key = shared_cluster.run(source, id="fails", retries=1)
    info = shared_cluster.wait_state(key)
    assert (info.state, info.exit_code, info.attempt) == ("DEAD", 3, 2)
    assert [shared_cluster.log(key, attempt) for attempt in (1, 2)] == [b"attempt 1\n", b"attempt 2\n"]
    assert [execution.exit_code for execution in info.executions] == [3, 3]


def test_what_cannot_be_run_fails_with_a_reason(shared_cluster: Cluster) -> None:
    key = shared_cluster.run("just words", id="words", file="words.txt", retries=0)
    info = shared_cluster.wait_state(key)
    assert info.state == "DEAD"
    assert "words.txt cannot be run" in info.reason


def test_a_long_log_is_complete_although_the_job_ends_at_once(shared_cluster: Cluster) -> None:
    source = """
import sys
for number in range(400_000):
    sys.stdout.write(f'{number:09d} some words to fill the line with, as programs do\\n')
"""
    key = shared_cluster.run(source, id="long-log")
    assert shared_cluster.wait_state(key, deadline=40).state == "COMPLETED"
    expected = b"".join(
        b"%09d some words to fill the line with, as programs do\n" % number for number in range(400_000)
    )
    assert shared_cluster.log(key) == expected
    assert shared_cluster.info(key).log_bytes == len(expected)


def test_output_of_a_running_job_can_be_read(shared_cluster: Cluster, tmp_path: Path) -> None:
    release = tmp_path / "release"
    source = f"""
import pathlib, time
print('first')
while not pathlib.Path({str(release)!r}).exists():
    time.sleep(0.01)
print('second')
"""
    key = shared_cluster.run(source, id="talks")
    wait_until(lambda: shared_cluster.log(key) == b"first\n", 10)
    assert shared_cluster.info(key).state == "RUNNING"
    release.touch()
    shared_cluster.wait_state(key)
    assert shared_cluster.log(key) == b"first\nsecond\n"


def test_cancel_and_timeout_end_the_whole_tree(shared_cluster: Cluster) -> None:
    source = """
import subprocess, sys, time
subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)', 'grandchild'], start_new_session=True)
print('ready')
time.sleep(600)
"""
    # A master, a worker, its launcher, and the supervisors of slots and workers, not there from the first moment on.
    wait_until(lambda: len(shared_cluster.processes()) == 7 + CHILD_WORKERS, 10)
    before = {process.pid for process in shared_cluster.processes()}
    cancelled = shared_cluster.run(source, id="cancel-me")
    timed_out = shared_cluster.run(source, id="too-long", timeout_s=1.0, retries=0)
    wait_until(lambda: shared_cluster.log(cancelled) == b"ready\n", 10)
    shared_cluster.client.call(CancelJob(id=cancelled))
    info = shared_cluster.wait_state(cancelled)
    assert info.state == "CANCELLED"
    info = shared_cluster.wait_state(timed_out)
    assert info.state == "DEAD" and [execution.outcome for execution in info.executions] == ["timed_out"]
    left = {process.pid for process in shared_cluster.processes()} - before
    assert not left, "the report says that they are gone"


def test_more_jobs_than_slots_all_run_with_four_at_a_time(shared_cluster: Cluster) -> None:
    source = """
import os, pathlib, time
mine = pathlib.Path(f"busy-{os.environ['TITAN_JOB_ID']}")
mine.touch()
time.sleep(0.2)
print(len(list(pathlib.Path().glob('busy-*'))))
mine.unlink()
"""
    jobs = [shared_cluster.job(source, id=f"crowd-{number}") for number in range(10)]
    run = shared_cluster.wait_run(shared_cluster.submit(*jobs).run_id)
    together = [int(shared_cluster.log(job.key)) for job in run.jobs]
    assert max(together) == 4


def test_a_job_that_floods_its_log_does_not_delay_the_others(shared_cluster: Cluster) -> None:
    flood = shared_cluster.run(
        # Some 300 MB as fast as they can be written: more would only make the end of the test wait for the rest.
        "import sys, time\nfor _ in range(5000): sys.stdout.buffer.write(b'x' * 65535 + b'\\n')\ntime.sleep(60)",
        id="flood",
        timeout_s=60,
    )
    wait_until(lambda: shared_cluster.info(flood).log_bytes or shared_cluster.log(flood)[:1], 10)
    runs = [shared_cluster.run("print('quick')", id=f"quick-{number}") for number in range(5)]
    for key in runs:
        info = shared_cluster.wait_state(key, deadline=10)
        assert info.ended_at - info.submitted_at < 3000
    shared_cluster.client.call(CancelJob(id=flood))
    shared_cluster.wait_state(flood, deadline=60)


def test_of_a_log_beyond_the_limit_the_beginning_and_the_end_are_kept(cluster: Cluster) -> None:
    cluster.start_master()
    cluster.start_worker("--log-bytes", "100000")
    key = cluster.run("for number in range(100_000): print('%09d' % number)", id="verbose")
    info = cluster.wait_state(key, deadline=30)
    assert info.state == "COMPLETED"
    log = cluster.log(key)
    assert len(log) == info.log_bytes < 101_000
    assert log.startswith(b"000000000\n000000001\n")
    assert b" bytes are left out here; a log keeps some 100000]\n" in log
    assert log.endswith(b"000099998\n000099999\n")
