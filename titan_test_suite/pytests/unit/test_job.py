"""TitanJob: every way to say a job, and what is refused where it is said."""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

import pytest

from titan_sdk.errors import InvalidName
from titan_sdk.job import TitanJob, split_args, split_requirement
from titan_sdk.messages import JobSpec, ServiceSpec


def test_the_least_a_job_can_be() -> None:
    assert TitanJob("a", "dir/a.py").spec("a.py") == JobSpec(id="a", file="a.py")


def test_everything_a_job_can_be() -> None:
    job = TitanJob(
        job_id="train",
        filename="ml/train.py",
        requirement="GPU, HIGH_MEM,GPU",
        priority=-3,
        parents=["prep", TitanJob("load", "load.py")],
        args=["--rate", 0.5, Path("/data"), 3],
        delay=1.5,
        affinity=True,
        retries=0,
        timeout=60,
        env={"SEED": 7, "HOME": Path("/tmp")},
        python="/usr/bin/python3",
        fresh=True,
    )
    assert job.spec("train.py", sha256="ab" * 32, size=9) == JobSpec(
        id="train",
        file="train.py",
        sha256="ab" * 32,
        size=9,
        args=("--rate", "0.5", "/data", "3"),
        env={"SEED": "7", "HOME": "/tmp"},
        requirement=("GPU", "HIGH_MEM"),
        priority=-3,
        delay_ms=1500,
        parents=("prep", "load"),
        affinity=True,
        retries=0,
        timeout_s=60.0,
        python="/usr/bin/python3",
        fresh=True,
    )


def test_id_is_the_same_as_job_id_and_one_of_them_is_wanted() -> None:
    assert TitanJob(id="a", filename="a.py").job_id == TitanJob("a", "a.py").id == "a"
    for wrong in ({}, {"job_id": "a", "id": "a"}, {"id": 3}):
        with pytest.raises(TypeError):
            TitanJob(filename="a.py", **wrong)


def test_attributes_may_change_until_submission() -> None:
    job = TitanJob("a", "a.py")
    job.priority = 9
    job.parents.append("b")
    assert (job.spec("a.py").priority, job.spec("a.py").parents) == (9, ("b",))


@pytest.mark.parametrize(
    ("fields", "kind", "port"),
    [
        ({}, "run", 0),
        ({"port": 8000}, "service", 8000),
        ({"type": "SERVICE"}, "service", 0),
        ({"kind": "service", "port": 1}, "service", 1),
        ({"type": "worker", "port": 8090}, "worker", 8090),
        ({"type": "worker"}, "worker", 0),
        ({"type": "service", "filename": "Worker.jar"}, "worker", 0),
        ({"filename": "Worker.jar", "port": 8087}, "worker", 8087),
        ({"filename": "Worker.jar"}, "run", 0),
    ],
)
def test_kinds(fields: dict[str, Any], kind: str, port: int) -> None:
    job = TitanJob("a", **{"filename": "a.py", **fields})
    assert (job.kind, job.port) == (kind, port)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"job_id": "a/b"}, "'/'"),
        ({"filename": ""}, "no filename"),
        ({"filename": "a|b.py"}, "holds '|'"),
        ({"requirement": "G PU"}, "'G PU' is not a capability"),
        ({"port": 65536}, "65536 is out of range"),
        ({"port": 80, "type": "run"}, "say type='service'"),
        ({"type": "cron"}, "'cron' is not a type of job"),
        ({"delay": -1}, "out of range"),
        ({"delay": 1e300}, "out of range"),
        ({"delay": math.inf}, "inf is not a number of seconds"),
        ({"timeout": 0}, "not above 0"),
        ({"timeout": math.nan}, "nan is not a number of seconds"),
        ({"retries": -1}, "-1 retries"),
        ({"priority": 2**63}, "out of range"),
        ({"args": "say 'hello"}, "no closing quotation"),
        ({"args": ["a\0b"]}, "NUL"),
        ({"env": {"A=B": "x"}}, "'A=B'"),
    ],
)
def test_what_cannot_be_is_refused_at_once(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidName) as caught:
        TitanJob(**{"job_id": "a", "filename": "a.py", **fields})
    assert said in str(caught.value)


@pytest.mark.parametrize(
    "fields",
    [
        {"priority": "high"}, {"priority": True}, {"retries": 1.5}, {"port": "80"}, {"delay": "1s"}, {"timeout": True},
        {"args": [None]}, {"env": {"A": None}}, {"parents": [3]}, {"job_id": b"a"},
    ],
)  # fmt: skip
def test_a_wrong_type_is_a_type_error(fields: dict[str, Any]) -> None:
    with pytest.raises(TypeError):
        TitanJob(**{"job_id": "a", "filename": "a.py", **fields})


def test_arguments_are_split_as_a_shell_would() -> None:
    assert split_args("--name 'two words' a\\ b \"\"") == ["--name", "two words", "a b", ""]
    assert split_args(["two words", ""]) == ["two words", ""]
    assert split_args("") == split_args(()) == []


def test_requirements() -> None:
    assert split_requirement("GPU,, HIGH_MEM ,GPU") == split_requirement(["GPU", "HIGH_MEM"]) == ["GPU", "HIGH_MEM"]
    assert split_requirement("") == split_requirement([]) == ["GENERAL"]


def test_paths_start_from_the_base_folder() -> None:
    job = TitanJob("a", "etl/a.py", base_dir="/project")
    assert job.path() == Path("/project/etl/a.py")
    assert job.path("other") == Path("/project/other")
    assert TitanJob("a", "/abs/a.py", base_dir="/project").path() == Path("/abs/a.py")
    assert TitanJob("a", "etl/a.py").path() == Path("etl/a.py")


# --- services ---


def test_what_a_service_says_of_its_upkeep():
    job = TitanJob(
        "api", "a.py", port="auto", restart="on-failure", lifetime="run",
        health={"path": "/h", "log": "up", "start": 5, "interval": 0.5, "failures": 1},
    )  # fmt: skip
    assert job.spec("a.py").service == ServiceSpec(
        restart="on-failure", auto_port=True, health_path="/h", ready_line="up", start_s=5, interval_s=0.5, failures=1,
        lifetime="run",
    )  # fmt: skip
    assert (job.kind, job.port) == ("service", 0)
    assert TitanJob("api", "a.py", port=80, health="/h").spec("a.py").upkeep.health_path == "/h"


def test_a_service_that_says_nothing_is_as_it_was_on_the_wire():
    assert TitanJob("api", "a.py", port=80).spec("a.py").service is None
    assert TitanJob("a", "a.py").spec("a.py").service is None


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"restart": "sometimes"}, "restart 'sometimes' is none of always, on-failure, never"),
        ({"lifetime": "short"}, "lifetime 'short' is none of stopped, run"),
        ({"health": {"url": "/"}}, "health has no 'url'"),
        ({"health": "health"}, "'health' is not a health path"),
        ({"health": {"log": "("}}, "is not a regular expression"),
        ({"health": {"start": 0}}, "start deadline of 0 s is out of range"),
        ({"health": {"failures": 0}}, "0 failures are out of range"),
        ({"health": "/h", "port": 0}, "the health path /h needs a port"),
        ({"type": "run", "port": 0, "restart": "never"}, "are for services, and this is of type run"),
    ],
)
def test_upkeep_that_makes_no_sense_is_refused(fields, message):
    with pytest.raises(InvalidName, match=re.escape(message)):
        TitanJob("api", "a.py", **({"type": "service", "port": 80} | fields))


def test_upkeep_of_the_wrong_type():
    for health in ({"path": 1}, {"start": "soon"}, {"failures": 1.5}):
        with pytest.raises(TypeError):
            TitanJob("api", "a.py", port=80, health=health)
