"""The schema for editors says of a pipeline what the parser says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from titan_sdk.dag import MAX_DELAY_MS, MAX_PRIORITY, MAX_RETRIES
from titan_sdk.job import KINDS
from titan_sdk.messages import DEFAULT_PRIORITY, DEFAULT_RETRIES, GENERAL
from titan_sdk.names import MAX_ID_BYTES
from titan_sdk.pipeline_keys import JOB_KEYS, MAX_NAME_BYTES, PIPELINE_KEYS
from titan_sdk.titan_yaml_parser import load_pipeline

ROOT = Path(__file__).resolve().parents[3]
SCHEMA: dict[str, Any] = json.loads((ROOT / "titan_sdk" / "pipeline.schema.json").read_text(encoding="utf-8"))
DOCUMENT = (ROOT / "docs" / "pipelines.md").read_text(encoding="utf-8")
EXAMPLES = sorted((ROOT / "titan_test_suite" / "examples").rglob("*.yaml"))
JOB = SCHEMA["$defs"]["job"]["properties"]


def accepts(text: str) -> bool:
    return jsonschema.Draft202012Validator(SCHEMA).is_valid(yaml.safe_load(text))


def test_it_is_a_schema() -> None:
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == jsonschema.Draft202012Validator.META_SCHEMA["$id"]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_every_example_is_valid_for_both(path: Path) -> None:
    jsonschema.validate(yaml.safe_load(path.read_text(encoding="utf-8")), SCHEMA)
    assert load_pipeline(path).jobs
    assert load_pipeline(path.parent).path == path


def test_there_are_examples() -> None:
    assert len(EXAMPLES) >= 7


def test_it_has_the_keys_of_the_parser() -> None:
    assert list(SCHEMA["properties"]) == list(PIPELINE_KEYS)
    assert set(JOB) == set(JOB_KEYS)


def test_every_key_is_documented() -> None:
    first, second = DOCUMENT.split("\n| key of a job |")
    rows = [
        set(re.findall(r"`(\w+)`", row))
        for text in (first, second.partition("\n\n")[0])
        for row in re.findall(r"^\| (`.*?) \|", text, re.MULTILINE)
    ]
    assert set().union(*rows) == {*PIPELINE_KEYS, *JOB_KEYS}


def test_the_documented_pipeline_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", DOCUMENT, re.DOTALL)
    (tmp_path / "etl").mkdir()
    for name in ("extract.py", "serve.py"):
        (tmp_path / "etl" / name).touch()
    (tmp_path / "pipeline.yaml").write_text(example)
    assert [job.kind for job in load_pipeline(tmp_path).jobs] == ["run", "service"]
    assert accepts(example)


def test_it_has_the_bounds_and_defaults_of_the_parser() -> None:
    assert {kind.lower() for kind in JOB["type"]["enum"]} == set(KINDS)
    assert JOB["priority"]["maximum"] == -JOB["priority"]["minimum"] == MAX_PRIORITY
    assert JOB["delay"]["maximum"] == MAX_DELAY_MS / 1000
    assert JOB["retries"]["maximum"] == MAX_RETRIES
    assert SCHEMA["$defs"]["id"]["maxLength"] == MAX_ID_BYTES
    assert SCHEMA["properties"]["name"]["maxLength"] == MAX_NAME_BYTES
    assert JOB["priority"]["default"] == DEFAULT_PRIORITY
    assert JOB["retries"]["default"] == DEFAULT_RETRIES
    assert JOB["requirement"]["default"] == GENERAL


@pytest.mark.parametrize(
    "text",
    [
        "jobs: []",
        "name: x",
        "jobs: [{id: a}]",
        "jobs: [{file: a.py}]",
        "jobs: [{id: a, file: a.py, script: a.py}]",
        "jobs: [{id: a, file: a.py, depends_on: [], dependencies: []}]",
        "jobs: [{id: a, type: run}]",
        "jobs: [{id: a/b, file: a.py}]",
        'jobs: [{id: "a\'b", file: a.py}]',
        'jobs: [{id: "a\\nb", file: a.py}]',
        "jobs: [{id: ' a', file: a.py}]",
        "jobs: [{id: a, file: /a.py}]",
        "jobs: [{id: a, file: a.py, port: 0}]",
        "jobs: [{id: a, file: a.py, port: '80'}]",
        "jobs: [{id: a, file: a.py, type: cron}]",
        "jobs: [{id: a, file: a.py, timeout: 0}]",
        "jobs: [{id: a, file: a.py, env: [A]}]",
        "jobs: [{id: a, file: a.py, env: {A: [x]}}]",
        "jobs: [{id: a, file: a.py, args: {}}]",
        "jobs: [{id: a, file: a.py, delay: 5s}]",
        "jobs: [{id: a, file: a.py, xyz: 1}]",
    ],
)
def test_what_it_refuses(text: str) -> None:
    assert not accepts(text)


@pytest.mark.parametrize(
    "text",
    [
        "jobs: [{id: a, type: worker, port: 8081}]",
        "jobs: [{id: 1, script: a.py, args: 5, dependencies: b}]",
        "jobs: [{id: a b, file: a/b.py, args: [1, 2.5, yes, x], env: {A: 1, B: ''}, requirement: [GPU, X]}]",
        "jobs: [{id: a, file: a.py, type: SERVICE, delay: 0.5, timeout: 1, affinity: yes, fresh: no, python: python3}]",
        "jobs: [{id: a, file: a.py, depends_on: , args: }]",
    ],
)
def test_what_it_takes(text: str) -> None:
    assert accepts(text)
