"""Artifacts as they are found in what jobs left; integration/test_artifacts.py has real ones."""

from __future__ import annotations

import json
from typing import Any

import pytest

from titan_sdk.artifacts import Artifact, artifacts_of, find, list_artifacts
from titan_sdk.errors import NotFound
from titan_sdk.messages import GetJob, JobInfo, RunInfo

ONE, TWO = "1" * 64, "2" * 64


def job(job_id: str, left: object, *parents: str) -> JobInfo:
    info = JobInfo(key=f"r/{job_id}", id=job_id, run_id="r", file="a.py", state="COMPLETED", parents=parents)
    info.outputs = json.dumps({"titan_artifacts": left})
    return info


class Master:
    """Answers for the one run r."""

    def __init__(self, *jobs: JobInfo) -> None:
        self.jobs = {each.key: each for each in jobs}

    def call(self, request: Any, timeout: float | None = None) -> Any:
        if isinstance(request, GetJob):
            return self.jobs[request.id]
        return RunInfo(
            run_id="r", name="r", version=1, finished=True, jobs=list(self.jobs.values()), total=len(self.jobs)
        )


@pytest.fixture
def fanned_out() -> Master:
    parts = [{f"part-{number}": {"sha256": digest, "size": 1}} for number, digest in enumerate((ONE, TWO))]
    instances = (job(f"load.{number}", part) for number, part in enumerate(parts))
    return Master(job("load", [parts[0], parts[1], None]), *instances, job("merge", {}, "load"))


def test_what_follows_a_fan_out_finds_what_its_instances_left(fanned_out: Master) -> None:
    assert find(fanned_out, "part-1", "r/merge") == Artifact("part-1", "r/load.1", TWO, 1)
    with pytest.raises(NotFound, match="part-2"):
        find(fanned_out, "part-2", "r/merge")


def test_each_is_listed_once(fanned_out: Master) -> None:
    both = [Artifact("part-0", "r/load.0", ONE, 1), Artifact("part-1", "r/load.1", TWO, 1)]
    assert list_artifacts(fanned_out, "r/load") == both
    assert list_artifacts(fanned_out, "r") == both


@pytest.mark.parametrize("left", [5, "x", [5], {"a": 5}, {"a": {"sha256": ONE}}, {"a": {"sha256": 1, "size": "x"}}])
def test_what_a_script_wrote_there_itself_is_no_artifact(left: object) -> None:
    assert artifacts_of(job("a", left)) == []
