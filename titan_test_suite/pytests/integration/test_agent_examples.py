"""The examples for programs and agents that decide while they run, each run as its README says, on one cluster."""

from __future__ import annotations

import functools
import http.server
import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from titan_sdk.messages import GetJob, ListJobs
from titan_test_suite.pytests.cluster import ROOT, Cluster, wait_until

EXAMPLES = ROOT / "titan_test_suite" / "examples"


def program(cluster: Cluster, example: str, *argv: str, code: int = 0, **env: str) -> str:
    """What an example prints; it must end with that exit code."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / example), *argv],
        env=cluster.environment(PYTHONPATH=str(ROOT), **env),
        cwd=cluster.root,
        capture_output=True,
        text=True,
        timeout=110,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_the_load_of_the_cluster_decides(shared_cluster: Cluster, tmp_path: Path) -> None:
    deep = program(shared_cluster, "dynamic_dag_custom/dynamic_switch.py")
    assert deep.startswith("0 % load. Normal traffic: running the DEEP analysis.\n")
    total, modules = re.findall(r"(\d+) functions in (\d+) modules; \w+ has the most", deep)[0]
    assert int(total) > 1000 and int(modules) > 100
    gate = tmp_path / "gate"

    def quick_scan_waits() -> bool:
        return any(job.id == "quick_scan" for job in shared_cluster.client.call(ListJobs(limit=5)).jobs)

    def open_gate() -> None:
        wait_until(quick_scan_waits, 60.0)
        gate.touch()

    held = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.02)"
    keys = [shared_cluster.run(held, id=f"traffic-{number}") for number in range(4)]
    for key in keys:
        shared_cluster.wait_state(key, "RUNNING")
    opener = threading.Thread(target=open_gate)
    opener.start()
    fast = program(shared_cluster, "dynamic_dag_custom/dynamic_switch.py", "80")
    opener.join()
    assert fast.startswith("100 % load. High traffic: switching to the FAST pipeline.\nabout ")
    for key in keys:
        shared_cluster.wait_state(key)


def test_a_segfault_in_the_logs_deploys_another_job(shared_cluster: Cluster) -> None:
    output = program(shared_cluster, "agents/agentic_healer.py")
    assert output.splitlines() == [
        " CRITICAL ERROR in crunch. Deploying Patch...",
        "safe mode: the sum of 4096 values is 1048320.0",
    ]
    crashed = shared_cluster.client.call(GetJob(id="crunch"))
    assert (crashed.state, crashed.exit_code) == ("DEAD", 139)
    assert shared_cluster.log("crunch").startswith(b"Segfault in the native sum")


def test_rules_heal_a_script_fault_by_fault(shared_cluster: Cluster) -> None:
    lines = program(shared_cluster, "agents/self_healing.py").splitlines()
    patches = [line.strip() for line in lines if "patch:" in line]
    assert patches == [
        "patch: fastjson_not_installed is not installed: use json",
        "patch: a value in line 19 is no number: leave such rows out",
        "patch: the native engine crashed: use the other one",
    ]
    assert lines[-2:] == ["attempt 4: completed", '{"Lisbon": 160, "Nairobi": 80}']


def test_a_failure_that_no_rule_knows_ends_the_loop(shared_cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "odd.py"
    script.write_text("raise RuntimeError('never seen')")
    output = program(shared_cluster, "agents/self_healing.py", str(script), code=1)
    assert output.splitlines()[-1] == "nobody knows what to do about that"


class Site(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:
        pass


class Model(http.server.BaseHTTPRequestHandler):
    """Stands in for a language model's endpoint: answers each request with the script that it was told to."""

    asked: list[tuple[dict[str, str], Any]]
    answer: str

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((dict(self.headers), body))
        said = {"choices": [{"message": {"content": f"Here it is:\n```python\n{self.answer}\n```"}}]}
        data = json.dumps(said).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: object) -> None:
        pass


@contextmanager
def serving(handler: Any) -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, name="site")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


def test_a_language_model_is_asked_when_there_is_one(shared_cluster: Cluster, tmp_path: Path) -> None:
    script = tmp_path / "greet.py"
    script.write_text("print('hello' + 1)")
    Model.asked, Model.answer = [], "print('hello 1')"
    with serving(Model) as url:
        env = {"LLM_URL": f"{url}v1/chat/completions", "LLM_MODEL": "some-model", "LLM_API_KEY": "secret"}
        output = program(shared_cluster, "agents/self_healing.py", str(script), **env)  # type: ignore[arg-type]
    assert output.splitlines()[-2:] == ["attempt 2: completed", "hello 1"]
    ((headers, body),) = Model.asked
    assert headers["Authorization"] == "Bearer secret" and body["model"] == "some-model"
    question = body["messages"][0]["content"]
    assert "print('hello' + 1)" in question and "TypeError: can only concatenate" in question and "code 1" in question


def test_a_site_is_crawled_page_by_page(shared_cluster: Cluster, tmp_path: Path) -> None:
    pages = {
        "index.html": "<title>Home</title><a href='a.html'>a</a><a href='sub/b.html#part'>b</a><a href='http://elsewhere.invalid/'>x</a>",
        "a.html": "<title>A</title><a href='index.html'>back</a><a href='missing.html'>gone</a>",
        "sub/b.html": "<title>B</title><a href='c.html'>c</a><a href='../a.html'>a</a>",
        "sub/c.html": "<title>C</title>",
        "alone.html": "<title>Nobody links here</title>",
    }
    for name, text in pages.items():
        path = tmp_path / "site" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    with serving(functools.partial(Site, directory=str(tmp_path / "site"))) as url:
        found = json.loads(program(shared_cluster, "crawler/crawler.py", f"{url}index.html"))
        few = json.loads(program(shared_cluster, "crawler/crawler.py", f"{url}index.html", "2"))
    titles = {address.removeprefix(url): title for address, title in found["pages"].items()}
    assert titles == {"index.html": "Home", "a.html": "A", "sub/b.html": "B", "sub/c.html": "C"}
    ((missing, why),) = found["broken"].items()
    assert missing == f"{url}missing.html" and "404" in why
    assert len(few["pages"]) == 2


def test_words_are_counted_in_a_tree(shared_cluster: Cluster, tmp_path: Path) -> None:
    files = []
    for number in range(6):
        path = tmp_path / f"{number}.txt"
        path.write_text("the sea " * (number + 1) + "ship")
        files.append(str(path))
    output = program(shared_cluster, "map_reduce/word_count.py", *files)
    assert output.splitlines() == ["    21 the", "    21 sea", "     6 ship"]
    jobs = shared_cluster.client.call(ListJobs(limit=9)).jobs
    assert len({job.run_id for job in jobs}) == 1 and sum(bool(job.parents) for job in jobs) == 3


def test_a_team_grows_until_a_writer_joins_what_it_found(shared_cluster: Cluster) -> None:
    output = program(shared_cluster, "research/research.py", "Tides")
    lines = output.splitlines()
    assert lines[0] == "8 findings"
    assert [line.partition(":")[0] for line in lines[1:]] == [
        "Coast", "Fundy", "Fusion", "Gravity", "Moon", "Newton", "Sun", "Tides",
    ]  # fmt: skip
    jobs = shared_cluster.client.call(ListJobs(limit=20)).jobs
    team = [job for job in jobs if job.id.startswith("study-")]
    assert len(team) == 10 and len({job.run_id for job in team}) == 1, "one run, which has grown"


def test_dagster_assets_run_on_the_cluster(shared_cluster: Cluster, tmp_path: Path) -> None:
    env = {"DAGSTER_HOME": str(tmp_path), "DAGSTER_DISABLE_TELEMETRY": "1"}
    output = program(shared_cluster, "dagster_asset/titan_assets.py", **env)  # type: ignore[arg-type]
    assert "printed: 1007 primes below 8000" in output
    assert f"titan_job: {shared_cluster.client.call(GetJob(id='prime-summary')).key}" in output
