"""A DAG is checked whole: every problem at once, and in time that is linear in jobs and edges."""

from __future__ import annotations

import time

import pytest

from titan_sdk.dag import MAX_DELAY_MS, MAX_TEXT, validate_dag
from titan_sdk.errors import PipelineError, Problem
from titan_sdk.messages import JobSpec


def job(name: str, *parents: str) -> JobSpec:
    return JobSpec(id=name, file="a.py", parents=parents)


def test_a_sound_dag_has_no_problems() -> None:
    assert validate_dag([job("d", "b", "c"), job("a"), job("b", "a"), job("c", "a", "a")]) == []


def test_no_jobs() -> None:
    assert validate_dag([]) == [Problem("", "there are no jobs")]


def test_all_problems_at_once_with_their_lines() -> None:
    jobs = [job("a", "x", "x"), job("b", "b"), job("a"), job("c", "e"), job("d", "c"), job("e", "d"), job("f/g")]
    assert validate_dag(jobs, lines=[10, 20, 30, 40, 50, 60, 70]) == [
        Problem("a", "the id is used twice, first in line 10", 30),
        Problem("f/g", "the job id 'f/g' holds '/', which a job id may not", 70),
        Problem("a", "its parent 'x' is not a job of this run", 10),
        Problem("b", "it waits for itself", 20),
        Problem("c", "a cycle: c waits for e waits for d waits for c", 40),
    ]


def test_known_ids_are_no_unknown_parents() -> None:
    assert validate_dag([job("a", "x")], known={"x"}) == []


def test_two_cycles_and_what_hangs_on_them() -> None:
    jobs = [job("below", "b", "z"), job("a", "b"), job("b", "a"), job("x", "y"), job("y", "x", "a"), job("z")]
    assert [(problem.where, problem.text) for problem in validate_dag(jobs)] == [
        ("b", "a cycle: b waits for a waits for b"),
        ("x", "a cycle: x waits for y waits for x"),
    ]


def test_a_long_cycle_is_shown_in_part() -> None:
    jobs = [job(str(n), str((n + 1) % 1000)) for n in range(1000)]
    (problem,) = validate_dag(jobs)
    assert problem.text.startswith("a cycle: 0 waits for 1 waits for 2")
    assert problem.text.endswith("... (1000 jobs)")
    assert len(problem.text) < 200


def seconds(jobs: list[JobSpec]) -> float:
    began = time.thread_time()
    assert validate_dag(jobs) == []
    return time.thread_time() - began


def test_deep_chains_and_wide_fans_cost_linear_time() -> None:
    def chain(n: int) -> list[JobSpec]:
        # Children first: the order that a recursive search likes least.
        return [job(str(k), str(k - 1)) if k else job("0") for k in reversed(range(n))]

    def fan(n: int) -> list[JobSpec]:
        return [job("end", *map(str, range(n))), job("start"), *(job(str(k), "start") for k in range(n))]

    for shape in (chain, fan):
        small = min(seconds(shape(2_000)) for _ in range(3))
        large = min(seconds(shape(20_000)) for _ in range(2))
        assert large < 40 * small, "ten times the jobs may cost ten times, not a hundred times"


@pytest.mark.parametrize(
    ("spec", "text"),
    [
        (JobSpec(id="", file="a.py"), "empty"),
        (JobSpec(id="a", file="../a.py"), "plain name"),
        (JobSpec(id="a", file="/a.py", archive="p.zip"), "relative"),
        (JobSpec(id="a", file="x/../a.py", archive="p.zip"), "'..'"),
        (JobSpec(id="a", file="a.py", archive="x/p.zip"), "plain name"),
        (JobSpec(id="a", file="a.py", sha256="XY"), "SHA-256"),
        (JobSpec(id="a", file="a.py", requirement=("GPU", "two words")), "capability"),
        (JobSpec(id="a", file="a.py", port=65536), "65536"),
        (JobSpec(id="a", file="Worker.jar", kind="worker", port=-1), "port -1"),
        (JobSpec(id="a", file="a.py", cpus=float("nan")), "cpus"),
        (JobSpec(id="a", file="a.py", memory=-1), "memory"),
        (JobSpec(id="a", file="a.py", gpus=4097), "gpus"),
        (JobSpec(id="a", file="a.py", delay_ms=-1), "delay"),
        (JobSpec(id="a", file="a.py", delay_ms=MAX_DELAY_MS + 1), "delay"),
        (JobSpec(id="a", file="a.py", priority=2**63), "priority"),
        (JobSpec(id="a", file="a.py", retries=-1), "retries"),
        (JobSpec(id="a", file="a.py", timeout_s=0), "timeout"),
        (JobSpec(id="a", file="a.py", timeout_s=float("nan")), "timeout"),
        (JobSpec(id="a", file="a.py", args=("a\0",)), "NUL"),
        (JobSpec(id="a", file="a.py", env={"A": "\0"}), "NUL"),
        (JobSpec(id="a", file="a.py", env={"A=B": "1"}), "variable"),
        (JobSpec(id="a", file="a.py", env={"": "1"}), "variable"),
        (JobSpec(id="a", file="a.py", args=("a" * MAX_TEXT,), env={"A": ""}), "over the limit of 1048576; put them"),
    ],
)
def test_a_job_by_itself(spec: JobSpec, text: str) -> None:
    (problem,) = validate_dag([spec])
    assert problem.where == spec.id
    assert text in problem.text


def test_what_a_job_may_be() -> None:
    specs = [
        JobSpec(id="a", file="x/y.py", archive="p.zip", sha256="0" * 64, args=("|", ";", "\n"), env={"A": "|;\n"}),
        JobSpec(id="b", file="Worker.jar", kind="worker", port=8085, requirement=()),
        JobSpec(id="c", file="s.py", kind="service", priority=-(2**40), delay_ms=MAX_DELAY_MS, timeout_s=0.5),
    ]
    assert validate_dag(specs) == []


def test_problems_of_a_run_with_the_name_of_its_job_name_it_once() -> None:
    problem = Problem("train", "its parent 'x' is not a job of this run")
    assert str(PipelineError([problem], "train")) == "train: its parent 'x' is not a job of this run"
    assert str(PipelineError([problem], "nightly")) == f"nightly: {problem}"
