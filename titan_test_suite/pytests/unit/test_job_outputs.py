"""Outputs of jobs: how they are written, what is refused, and how they look in an environment."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from titan_core.tasks import job_flow
from titan_sdk import failed_jobs, inputs, item, job_outputs, output
from titan_sdk.errors import BadMessage
from titan_sdk.messages import Given, JobReport, Lease

LEASE = Lease(job="r/a", attempt=1, epoch=1)


def completed() -> JobReport:
    return JobReport(lease=LEASE, outcome="completed", exit_code=0)


def test_every_form_of_a_line() -> None:
    text = b'a=1 = x\nb:=[1, "two"]\r\nc<<END\none\n\ntwo\nEND\n\n{"d": null, "a2": 1.5}\na=again'
    values = {"a": "again", "b": [1, "two"], "c": "one\n\ntwo", "d": None, "a2": 1.5}
    assert job_outputs.decode(job_outputs.parse(text)) == values
    assert job_outputs.parse(b"\n \n") == b""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"a=1\nnonsense", "line 2 is 'nonsense'; name=text, name:=JSON or name<<END is wanted"),
        (b"a:=[1", "line 1 is no JSON"),
        (b"a<<END\nx", "line 1: the text of a is not ended by a line END"),
        (b"a<<\nx", "the word is wanted"),
        (b'{"1 a": 1}', "'1 a' is not an output's name"),
        (b"my-name=1", "is wanted"),
        (b"a=\xff", "not UTF-8"),
        (b"a:=" + b"[" * 100_000, "line 1 is no JSON"),
        (b"b=1\na:=" + b"[" * 101 + b"]" * 101, "line 2 holds lists or objects that are over 100 deep"),
        (b'{"a":' * 101 + b"1" + b"}" * 101, "line 1 holds"),
        (b"a=" + b"x" * job_outputs.MAX_OUTPUT_BYTES, "over the limit of 262144 bytes"),
        (b"a=" + b"\x01" * 200_000, "over the limit of 262144"),
    ],
)
def test_what_is_refused(text: bytes, why: str) -> None:
    with pytest.raises(BadMessage, match=why):
        job_outputs.parse(text)


def test_how_deep_values_may_be() -> None:
    deepest = b'{"a":' + b"[" * 100 + b"]" * 100 + b"}"
    assert job_outputs.parse(b"a:=" + deepest[5:-1]) == deepest
    job_outputs.check(deepest)
    flat = b'{"a":' + b"[" + b"[]," * 200 + b"[]" + b"]" + b"}"
    assert job_outputs.parse(flat) == flat
    with pytest.raises(BadMessage, match="over 100 deep"):
        job_outputs.check(b'{"a":' + b"[" * 101 + b"]" * 101 + b"}")


def test_artifacts_add_up() -> None:
    lines = [b'{"titan_artifacts":{"%d":{"sha256":"%064d","size":1}}}' % (number, number) for number in range(1500)]
    found = job_outputs.decode(job_outputs.parse(b"\n".join([*lines, b'titan_artifacts:={"7":{"size":2}}'])))
    assert len(found["titan_artifacts"]) == 1500 and found["titan_artifacts"]["7"] == {"size": 2}


def test_variables_are_bounded() -> None:
    large = "x" * (job_outputs.MAX_VARIABLE_BYTES + 1)
    found = job_outputs.variables({"my-job.2": {"rows": 3, "Name": "a b", "large": large, "nul": "\0"}})
    assert found == {"TITAN_OUTPUT_MY_JOB_2_ROWS": "3", "TITAN_OUTPUT_MY_JOB_2_NAME": "a b"}
    many = {f"v{number}": "x" * job_outputs.MAX_VARIABLE_BYTES for number in range(9)}
    assert len(job_outputs.variables({"a": many})) == 4


def test_a_job_writes_what_its_worker_reads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError, match="TITAN_OUTPUT is not set"):
        output(a=1)
    path = tmp_path / job_flow.OUTPUTS
    monkeypatch.setenv("TITAN_OUTPUT", str(path))
    output(rows=3, names=["a", "b"])
    for name in ("my-name", "größe", "1a", "", "a" * 65):
        with pytest.raises(ValueError, match="is not an output's name"):
            output(**{name: 1})
    output(rows=4)
    assert json.loads(job_flow.with_outputs(completed(), tmp_path).outputs) == {"rows": 4, "names": ["a", "b"]}
    assert not path.exists()
    assert job_flow.with_outputs(completed(), tmp_path) == completed()


def test_a_failed_attempt_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / job_flow.OUTPUTS).write_text("a=1\n")
    report = JobReport(lease=LEASE, outcome="failed", exit_code=1)
    assert job_flow.with_outputs(report, tmp_path) == report
    assert not (tmp_path / job_flow.OUTPUTS).exists()


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "nonsense"])
def test_outputs_that_cannot_be_used_fail_the_attempt(tmp_path: Path, kind: str) -> None:
    path = tmp_path / job_flow.OUTPUTS
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        path.write_text("what?\n")
    report = job_flow.with_outputs(completed(), tmp_path)
    assert report.outcome == "failed" and report.reason.startswith("its outputs cannot be used: ")
    assert not report.outputs


def test_what_a_job_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (inputs(), item(), failed_jobs()) == ({}, None, [])
    given = Given(inputs=b'{"a":{"n":[1]}}', item=b'"x"', index=2, failed=("b", "c"), failure="b: exit code 1")
    found = job_flow.variables(given, tmp_path)
    assert found["TITAN_OUTPUT_A_N"] == "[1]" and found["TITAN_ITEM_INDEX"] == "2"
    assert found["TITAN_FAILURE_REASON"] == "b: exit code 1"
    for name, value in found.items():
        monkeypatch.setenv(name, value)
    assert (inputs(), item(), failed_jobs()) == ({"a": {"n": [1]}}, "x", ["b", "c"])
