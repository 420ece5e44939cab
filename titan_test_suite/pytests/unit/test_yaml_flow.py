"""Control flow in pipeline files: what the keys mean, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from titan_sdk.errors import PipelineError
from titan_sdk.messages import FlowSpec, RunOptions
from titan_sdk.titan_yaml_parser import Pipeline, parse_pipeline


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "a.py").write_text("print(1)\n")
    return tmp_path


def parsed(folder: Path, text: str) -> Pipeline:
    return parse_pipeline(text.encode(), folder / "pipeline.yaml")


def test_what_the_keys_mean(folder: Path) -> None:
    pipeline = parsed(
        folder,
        """
name: x
params: {region: eu, keep: ""}
fail_fast: true
jobs:
  - {id: a, file: a.py, on_failure: [fix, page]}
  - {id: b, file: a.py, depends_on: a, trigger: All_Done, when: "parents.a.rows > 0 and states.a == 'COMPLETED'"}
  - {id: c, file: a.py, depends_on: [a, b], args: ["${parents.a.rows}"], env: {R: "${params.region}"}}
  - {id: fix, file: a.py}
  - {id: page, file: a.py, depends_on: b, trigger: one_failed}
on_failure:
  - {id: alarm, file: a.py}
finally:
  - {id: tidy, file: a.py, when: "params.keep != 'yes'"}
""",
    )
    assert pipeline.options == RunOptions(fail_fast=True)
    specs = {job.job_id: job.spec("a.py") for job in pipeline.jobs}
    assert {name: spec.flow for name, spec in specs.items()} == {
        "a": None,
        "b": FlowSpec(trigger="all_done", when="parents.a.rows > 0 and states.a == 'COMPLETED'"),
        "c": FlowSpec(templates=True),
        "fix": FlowSpec(trigger="one_failed"),
        "page": FlowSpec(trigger="one_failed"),
        "alarm": FlowSpec(handler="on_failure"),
        "tidy": FlowSpec(handler="finally", when="params.keep != 'yes'"),
    }
    assert specs["fix"].parents == ("a",) and specs["page"].parents == ("b", "a")
    assert parsed(folder, "jobs: [{id: a, file: a.py}]").options is None


@pytest.mark.parametrize(
    ("jobs", "problem"),
    [
        ("[{id: a, file: a.py, trigger: all_failed}]", "line 1: a: trigger: the text"),
        ("[{id: a, file: a.py, trigger: one_failed}]", "trigger one_failed is about the parents"),
        ("[{id: a, file: a.py,\n when: 1 +}]", "line 2: a: when: '1 +' is not an expression"),
        ("[{id: a, file: a.py,\n\n when: parents.b.rows}]", "line 3: a: when: 'parents.b.rows': b is no parent"),
        ("[{id: a, file: a.py, args: ['${parents.b.x}']}]", "args: 'parents.b.x': b is no parent"),
        ("[{id: a, file: a.py, if: 'true'}]", "unknown key if; did you mean when?"),
        ("[{id: a, file: a.py, on_failure: nobody}]", "on_failure: 'nobody' is not a job of this pipeline"),
        (
            "[{id: a, file: a.py, on_failure: b}, {id: b, file: a.py, trigger: always}]",
            "on_failure: b has the trigger always; leave that out",
        ),
        ("[{id: a, file: a.py}]\nfinally: {id: b}", "finally: a list is wanted"),
        ("[{id: a, file: a.py}]\nfinally:\n - {id: b, file: a.py, depends_on: a}", "waits for no other jobs"),
        ("[{id: a, file: a.py, depends_on: b}]\nfinally:\n - {id: b, file: a.py}", "'b' is for the end of the run"),
        ("[{id: a, file: a.py}]\nfinally:\n - {id: a, file: a.py}", "the id is used twice"),
    ],
)
def test_mistakes(folder: Path, jobs: str, problem: str) -> None:
    with pytest.raises(PipelineError) as caught:
        parsed(folder, f"jobs: {jobs}")
    assert any(problem in str(each) for each in caught.value.problems), caught.value.problems
