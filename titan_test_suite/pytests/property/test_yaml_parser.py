"""For all texts: a Pipeline or a PipelineError, and nothing else; and what the parser takes, the schema takes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from titan_sdk.errors import PipelineError
from titan_sdk.names import check_job_id
from titan_sdk.pipeline_keys import JOB_KEYS
from titan_sdk.titan_yaml_parser import Pipeline, parse_pipeline

ROOT = Path(__file__).resolve().parents[3]
SCHEMA = jsonschema.Draft202012Validator(json.loads((ROOT / "titan_sdk" / "pipeline.schema.json").read_text("utf-8")))
MORE = settings(max_examples=300, deadline=None)


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        (place / "scripts").mkdir()
        for file in ("a.py", "scripts/b.py"):
            (place / file).touch()
        yield place


@pytest.fixture(scope="module", params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        if request.param == "python":
            patch.delattr(yaml, "CSafeLoader", raising=False)
        elif not yaml.__with_libyaml__:
            pytest.skip("PyYAML was built without libyaml")
        yield


STRUCTURE = (
    *("\n", "\n  ", "\n  - ", "\n    ", ": ", ", ", "[", "]", "{", "}", "- ", "'", '"', "\\", "#", "&a ", "*a", "<<: "),
    *("!!str ", "!!python/name:os.system ", "%YAML 1.1\n", "---\n", "...\n", "|\n", ">-\n", "? ", "\t", "\r", "\0"),
    *("\\ud800", "\\UFFFFFFFF", "\\x", "\u2028", "\x85", "\ufeff", "é", "😀", "=", "@", "`"),
)
words = st.sampled_from(
    [*JOB_KEYS, "name", "project", "jobs", "a", "a.py", "scripts/b.py", "../x", "GPU", "yes", "0123", "~", "1e3", "-1"]
)
pieces = st.one_of(
    words,
    st.sampled_from(STRUCTURE),
    st.text(max_size=4),
)
texts = st.one_of(
    st.lists(pieces, max_size=40).map("".join),
    st.lists(pieces, max_size=30).map(lambda parts: "jobs:\n- id: a\n  file: a.py\n  " + "".join(parts)),
)


def outcome(data: bytes, folder: Path) -> Pipeline | PipelineError:
    """Lets through anything but what may come; and what comes must make sense."""
    try:
        pipeline = parse_pipeline(data, folder / "pipeline.yaml")
    except PipelineError as error:
        last = data.count(b"\n") + data.count(b"\r") + data.count(b"\xe2\x80") + data.count(b"\xc2\x85") + 1
        assert error.problems
        for problem in error.problems:
            assert problem.text and 0 <= problem.line <= last + 1, problem
            assert str(problem).isprintable(), problem
        return error
    assert pipeline.jobs
    ids = {check_job_id(job.job_id) for job in pipeline.jobs}
    assert len(ids) == len(pipeline.jobs)
    assert all(set(job.parents) <= ids for job in pipeline.jobs)
    return pipeline


@MORE
@given(text=texts)
def test_any_text(loader: None, folder: Path, text: str) -> None:
    outcome(text.encode("utf-8", "surrogatepass"), folder)


@MORE
@given(data=st.binary(max_size=200))
def test_any_bytes(loader: None, folder: Path, data: bytes) -> None:
    outcome(data, folder)


scalars = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 70_000), st.floats(allow_nan=False, width=16), words, st.text(max_size=5)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
jobs = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "c", 1, "d e"]) | scalars, "file": st.sampled_from(["a.py", "scripts/b.py"])},
    optional={
        key: values | good
        for key, good in {
            "type": st.sampled_from(["run", "service", "SERVICE", "worker"]),
            "args": st.lists(st.text(max_size=4), max_size=3),
            "depends_on": st.lists(st.sampled_from(["a", "b", "c", "1"]), max_size=2),
            "requirement": st.sampled_from(["GPU", ["GPU", "X"], "A,B"]),
            "priority": st.integers(-10, 10),
            "delay": st.floats(0, 100),
            "retries": st.integers(0, 5),
            "timeout": st.floats(0.5, 100),
            "port": st.integers(1, 65535),
            "affinity": st.booleans(),
            "env": st.dictionaries(st.text("ABC_", min_size=1, max_size=3), st.text(max_size=3), max_size=3),
            "python": st.just("python3"),
            "fresh": st.booleans(),
        }.items()
    },
)
pipelines = st.fixed_dictionaries(
    {"jobs": st.lists(jobs, min_size=1, max_size=3)}, optional={"name": st.text(max_size=5), "project": st.booleans()}
)


@MORE
@given(data=pipelines)
def test_what_the_parser_takes_the_schema_takes(folder: Path, data: dict[str, Any]) -> None:
    if isinstance(outcome(yaml.safe_dump(data).encode(), folder), Pipeline):
        SCHEMA.validate(yaml.safe_load(yaml.safe_dump(data)))


@given(data=pipelines)
def test_a_pipeline_reads_the_same_whatever_its_style(folder: Path, data: dict[str, Any]) -> None:
    block = outcome(yaml.safe_dump(data, default_flow_style=False, width=1000).encode(), folder)
    flow = outcome(yaml.safe_dump(data, default_flow_style=True, width=1000).encode(), folder)
    assert type(block) is type(flow)
    if isinstance(block, Pipeline) and isinstance(flow, Pipeline):
        assert [vars(job) | {"line": 0} for job in block.jobs] == [vars(job) | {"line": 0} for job in flow.jobs]
