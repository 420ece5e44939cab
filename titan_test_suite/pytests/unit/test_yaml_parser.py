"""Pipeline files: what they mean, and what is said of those that mean nothing."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from titan_sdk.errors import PipelineError
from titan_sdk.job import TitanJob
from titan_sdk.messages import Recurrence, ServiceSpec
from titan_sdk.sources import Source, source_of
from titan_sdk.titan_yaml_parser import MAX_PROBLEMS, Pipeline, find_pipeline, load_pipeline, parse_pipeline
from titan_sdk.yaml_lines import MAX_BYTES, MAX_DEPTH

FILES = ("a.py", "b.py", "scripts/clean.py", "scripts/deep/pull.py", "app.jar", "notes.txt", "__pycache__/c.py")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    place = tmp_path / "project"
    for name in FILES:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_text("print(1)\n")
    return place


@pytest.fixture(params=["libyaml", "python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Either of PyYAML's parsers: which one there is depends on how it was installed."""
    if request.param == "python":
        monkeypatch.delattr(yaml, "CSafeLoader", raising=False)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")
    return str(request.param)


JOB = "jobs: [{id: a, file: a.py}]\n"
NAME = "cannot be a run's name: 256 bytes at most, all of them printable"
KINDS = "is not a type of job; run, service, worker are"


def parsed(folder: Path, text: str | bytes, **params: str) -> Pipeline:
    return parse_pipeline(text.encode() if isinstance(text, str) else text, folder / "pipeline.yaml", params)


def one_job(folder: Path, *lines: str) -> TitanJob:
    body = "".join(f"    {line}\n" for line in lines)
    (job,) = parsed(folder, f"name: x\njobs:\n  - id: a\n    file: a.py\n{body}").jobs
    return job


def problems(folder: Path, text: str | bytes, **params: str) -> list[str]:
    with pytest.raises(PipelineError) as caught:
        parsed(folder, text, **params)
    assert caught.value.source == str(folder / "pipeline.yaml")
    return [str(each) for each in caught.value.problems]


def job_problems(folder: Path, *lines: str) -> list[str]:
    """Of one job with an id and a file in lines 3 and 4, and more lines from 5 on."""
    body = "".join(f"    {line}\n" for line in lines)
    return problems(folder, f"name: x\njobs:\n  - id: a\n    file: a.py\n{body}")


# --- what a pipeline means ----------------------------------------------------------------------------------------


def test_the_two_spellings_mean_the_same(folder: Path) -> None:
    old = parsed(
        folder,
        """
name: "Nightly"
jobs:
  - id: "EXTRACT"
    script: "a.py"
  - id: "API"
    type: "SERVICE"
    script: "scripts/clean.py"
    port: 8080
    dependencies: ["EXTRACT"]
""",
    )
    new = parsed(
        folder,
        """
name: Nightly
jobs:
  - {id: EXTRACT, type: run, file: a.py}
  - {id: API, file: scripts/clean.py, port: 8080, depends_on: EXTRACT}
""",
    )
    assert [vars(job) | {"line": 0} for job in old.jobs] == [vars(job) | {"line": 0} for job in new.jobs]
    assert [job.kind for job in old.jobs] == ["run", "service"]
    assert [job.line for job in old.jobs] == [4, 6]
    assert old.name == "Nightly" and not old.project and old.folder == folder


def test_every_key_arrives(folder: Path) -> None:
    job = one_job(
        folder,
        "type: service",
        "args: [1, 2.50, 0777, yes, 'two words', ~x]",
        "requirement: [GPU, HIGH_MEM]",
        "priority: -7",
        "delay: 1.5",
        "affinity: true",
        "retries: 0",
        "timeout: 90",
        "port: 65535",
        "env: {A: 1.0, B: 'x y', 2: no}",
        "python: /opt/python3.12",
        "fresh: yes",
        "cpus: 1.5",
        "memory: 1.5GB",
        "gpus: 2",
    )
    assert (job.cpus, job.memory, job.gpus) == (1.5, 3 << 29, 2)
    assert job.args == ["1", "2.50", "0777", "yes", "two words", "~x"]
    assert job.env == {"A": "1.0", "B": "x y", "2": "no"}
    assert (job.kind, job.port, job.requirement) == ("service", 65535, ["GPU", "HIGH_MEM"])
    assert (job.priority, job.delay, job.affinity, job.retries, job.timeout) == (-7, 1.5, True, 0, 90.0)
    assert (job.python, job.fresh) == ("/opt/python3.12", True)


def test_what_is_left_out_has_the_defaults_of_a_job(folder: Path) -> None:
    plain = TitanJob("a", "a.py", base_dir=folder.absolute())
    plain.line = 3
    assert vars(one_job(folder)) == vars(plain)


@pytest.mark.parametrize(
    ("line", "args"),
    [
        ("args: --rows 10 'two words'", ["--rows", "10", "two words"]),
        ("args: 5", ["5"]),
        ("args: 1e3", ["1e3"]),
        ("args:", []),
        ("args: []", []),
        ("args: ['']", [""]),
        ("args: [0x1F, 2026-01-01, 1_000, .5, +1]", ["0x1F", "2026-01-01", "1_000", ".5", "+1"]),
        ("args: [!!str 1, ! 2]", ["1", "2"]),
    ],
)
def test_arguments_stay_as_they_were_written(folder: Path, loader: str, line: str, args: list[str]) -> None:
    assert one_job(folder, line).args == args


def test_ids_are_texts_whatever_yaml_takes_them_for(folder: Path, loader: str) -> None:
    pipeline = parsed(
        folder,
        """
jobs:
  - {id: 0123, file: a.py}
  - {id: yes, file: a.py, depends_on: [0123]}
  - {id: 1.50, file: a.py, depends_on: ["yes", "0123"]}
  - {id: 2026-01-01, file: a.py, depends_on: 1.50}
  - {id: ünï code, file: a.py, depends_on: [2026-01-01]}
""",
    )
    assert [job.job_id for job in pipeline.jobs] == ["0123", "yes", "1.50", "2026-01-01", "ünï code"]
    assert [job.parents for job in pipeline.jobs] == [[], ["0123"], ["yes", "0123"], ["1.50"], ["2026-01-01"]]
    assert pipeline.name == "project", "that of the folder, when the file gives none"


def test_a_project_travels_as_one_zip(folder: Path) -> None:
    text = "name: P\nproject: true\njobs:\n- {id: a, file: ./scripts/../scripts/clean.py}\n- {id: b, script: b.py}\n"
    pipeline = parsed(folder, text)
    assert pipeline.project
    assert [source_of(job) for job in pipeline.jobs] == [
        Source("project.zip", folder, "scripts/clean.py"),
        Source("project.zip", folder, "b.py"),
    ]


def test_a_file_travels_alone_without_project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder.parent)
    (folder / "pipeline.yaml").write_text("jobs: [{id: a, file: scripts/deep/pull.py}]")
    (job,) = load_pipeline("project").jobs
    monkeypatch.chdir("/")
    assert source_of(job) == Source("pull.py", folder / "scripts/deep/pull.py"), "found from another folder, too"


def test_another_worker_needs_no_file(folder: Path) -> None:
    text = """
jobs:
  - {id: one, type: worker, port: 8090, requirement: GPU}
  - {id: two, type: SERVICE, file: Worker.jar}
  - {id: three, type: worker}
"""
    for project in ("", "project: true\n"):
        jobs = parsed(folder, project + text.replace("SERVICE", "worker")).jobs
        assert [(job.kind, job.port) for job in jobs] == [("worker", 8090), ("worker", 0), ("worker", 0)]
        assert [source_of(job) for job in jobs] == [None] * 3
    assert parsed(folder, text).jobs[1].kind == "worker", "the original's way to say it"


def test_anchors_and_merge_keys(folder: Path, loader: str) -> None:
    text = """
jobs:
  - &first {id: a, file: a.py, retries: 7, env: &e {A: x}}
  - {<<: *first, id: b, depends_on: [a]}
  - {<<: [{priority: 9, retries: 1}, *first], id: c, env: {<<: *e, B: y}}
"""
    first, second, third = parsed(folder, text).jobs
    assert (second.retries, second.env, second.parents, second.line) == (7, {"A": "x"}, ["a"], 4)
    assert (third.retries, third.priority, third.env) == (1, 9, {"B": "y", "A": "x"})
    assert first.job_id == "a"


def test_a_byte_order_mark_and_windows_line_ends(folder: Path, loader: str) -> None:
    text = "\ufeffname: x\r\njobs:\r\n  - id: a\r\n    file: a.py\r\n    prt: 1\r\n"
    assert problems(folder, text) == ["line 5: a: unknown key prt; did you mean port?"]


# --- finding it ---------------------------------------------------------------------------------------------------


def test_a_folder_has_one_pipeline_or_one_of_a_usual_name(folder: Path) -> None:
    with pytest.raises(PipelineError, match="holds no pipeline"):
        find_pipeline(folder)
    (folder / "daily.yml").touch()
    assert find_pipeline(folder) == folder / "daily.yml"
    (folder / "other.yaml").touch()
    with pytest.raises(PipelineError, match=r"several pipelines \(daily.yml, other.yaml\)"):
        find_pipeline(folder)
    (folder / "pipeline.yaml").touch()
    assert find_pipeline(folder) == folder / "pipeline.yaml"
    (folder / "titan.yaml").touch()
    assert find_pipeline(folder) == folder / "titan.yaml"
    assert find_pipeline(folder / "notes.txt") == folder / "notes.txt", "a file is what was meant, however it is called"
    with pytest.raises(FileNotFoundError):
        find_pipeline(folder / "nothing")


# --- what is no YAML, or not ours ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", "line 1: the file is empty; a pipeline has a name and jobs"),
        (b"# only this\n---\n", "line 1: the file is empty; a pipeline has a name and jobs"),
        (b"name: x\njobs:\n\t- id: a\n", "line 3: a tab in the indentation; YAML wants spaces"),
        (b"name: x\njobs:\n  - id: a\n \tfile: b\n", "line 4: a tab in the indentation; YAML wants spaces"),
        (b"name: x\njobs: caf\xe9\n", "line 2: the byte 0xe9 is not UTF-8; save the file as UTF-8"),
        ("name: x\n".encode("utf-16"), "line 1: the file is in UTF-16; save it as UTF-8"),
        (b"name: x\njobs: \x00\n", r"line 2: the control character '\x00' cannot stand in YAML"),
        (b"a: 1\n---\nb: 2\n", "line 2: a second document begins here; one file holds one pipeline"),
        (b"- a\n", "line 1: a pipeline is a map with name and jobs, not a list"),
        (b"just words\n", 'line 1: a pipeline is a map with name and jobs, not the text "just words"'),
        (b"x: &a [*a]\n", "line 1: the alias *a stands inside what it names"),
        (b"x: 1\ny: *a\n", "line 2: the alias *a names nothing before it"),
        (b"x: !!python/object:os y\n", "line 1: the tag !!python/object:os is not taken here; leave it out"),
        (b"x: !mine y\n", "line 1: the tag !mine is not taken here; leave it out"),
        (b"x: !!set {a}\n", "line 1: the tag !!set is not taken here; leave it out"),
        (b"x: 1\n{{ y }}: 2\n", "line 2: a key must be a plain word, not a list or a map; "),
        (b"<<: 5\n", "line 1: << wants a map, or a list of maps, to merge here"),
        (b"x: " + b"[" * (MAX_DEPTH + 1), f"line 1: lists and maps in each other more than {MAX_DEPTH} deep"),
        (b"x: " + b"{" * 100_000, f"line 1: lists and maps in each other more than {MAX_DEPTH} deep"),
        (b'x: 1\ny: "\\ud800"\n', "line 2: "),
        (b"x: 1\n\ny: a: b\n", "line 3: not valid YAML: mapping values are not allowed"),
        (b"x: 'open\ny: 2\n", "line 3: not valid YAML: found unexpected end of stream while scanning a quoted scalar"),
        (b"x: [a, b\ny: 2\n", "line 2: not valid YAML: "),
        (b"x: 1\n y: 2\n", "line 2: not valid YAML: "),
        (b"x: 1\ny: @a\n", "line 2: not valid YAML: found character "),
        (b'x: "\\UFFFFFFFF"\n', "line 1: not valid YAML: "),
        (b"%YAML 999999999999999999999999.1\n---\nx: 1\n", "line 1: not valid YAML: "),
    ],
)
def test_what_is_no_yaml_for_us(folder: Path, loader: str, text: bytes, expected: str) -> None:
    (found,) = problems(folder, text)
    assert found.startswith(expected), found
    if not expected.endswith((": ", "; ", " ", "allowed", "scalar")):
        assert found == expected


def test_brackets_in_a_text_without_quotes_are_explained(folder: Path, loader: str) -> None:
    (found,) = problems(folder, b"jobs:\n- {id: a, file: a.py, when: params.x in [1, 2]}\n")
    assert found.startswith("line 2: ") and found.endswith("a value with brackets, braces or commas in it needs quotes")


def test_a_yaml_bomb_does_not_go_off(folder: Path, loader: str) -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    bomb += "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
    began = time.thread_time()
    (found,) = problems(folder, bomb)
    assert "more than 1000000 values" in found
    assert time.thread_time() - began < 1.0


def test_merging_again_and_again_is_bounded_too(folder: Path) -> None:
    bomb = "a0: &a0 {" + ", ".join(f"k{n}: x" for n in range(1000)) + "}\n"
    bomb += "b: [" + ", ".join(["{<<: *a0}"] * 1000) + "]\n"
    (found,) = problems(folder, bomb)
    assert "more than 1000000 values" in found


def test_a_file_too_big_is_not_read(folder: Path) -> None:
    (found,) = problems(folder, b"#" * (MAX_BYTES + 1))
    assert "is it the right one?" in found


# --- what makes no pipeline ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: x\n", ["line 1: the key jobs is missing; it lists what is to run"]),
        ("jobs:\n", ["line 1: jobs: a list is wanted, one job after each dash, not nothing"]),
        ("jobs: []\n", ["line 1: jobs: a list is wanted, one job after each dash, not an empty one"]),
        ("jobs:\n  id: a\n", ["line 2: jobs: a list is wanted, one job after each dash, not a map"]),
        ("jobs:\n- a.py\n", ['line 2: job 1: a job is a map with id and file, not the text "a.py"']),
        (
            "job: []\n",
            ["line 1: unknown key job; did you mean jobs?", "line 1: the key jobs is missing; it lists what is to run"],
        ),
        (JOB + "tasks: 1\n", ["line 2: unknown key tasks; did you mean jobs?"]),
        (
            JOB + "xyz: 1\n",
            [
                (
                    "line 2: unknown key xyz; the keys here are name, project, fail_fast, params, schedule, every, "
                    "jobs, on_failure, finally"
                )
            ],
        ),
        ("name: a\n" + JOB + "name: b\n", ["line 3: the key name stands in line 1 already"]),
        ("name: [a]\n" + JOB, ["line 1: name: a text is wanted, not a list"]),
        ("name: ''\n" + JOB, [f"line 1: name: '' {NAME}"]),
        ('name: "a\\nb"\n' + JOB, [f"line 1: name: 'a\\nb' {NAME}"]),
        ("project: maybe\n" + JOB, ['line 1: project: true or false is wanted, not the text "maybe"']),
        ("jobs:\n- file: a.py\n", ["line 2: job 1: it has no id"]),
        ("jobs:\n- id: a\n", ["line 2: a: it has no file to run"]),
        ("jobs:\n- id: ''\n  file: a.py\n", ["line 2: job 1: id: the job id is empty"]),
        ("jobs:\n- id: ~\n  file: a.py\n", ['line 2: ~: id: an id is wanted, not ~; if ~ is the text, write "~"']),
        ("jobs:\n- id:\n  file: a.py\n", ["line 2: job 1: id: an id is wanted, not nothing"]),
        ("jobs:\n- id: [a]\n  file: a.py\n", ["line 2: job 1: id: an id is wanted, not a list"]),
        (
            "jobs:\n- id: it's\n  file: a.py\n",
            ['line 2: it\'s: id: the job id "it\'s" holds "\'", which a job id may not'],
        ),
        (
            'jobs:\n- id: "a\\nb"\n  file: a.py\n',
            ["line 2: a\\nb: id: the job id 'a\\nb' holds '\\n', which a job id may not"],
        ),
        (
            "jobs:\n- {id: a, file: a.py}\n- {id: b, file: b.py}\n- {id: a, file: b.py}\n",
            ["line 4: a: the id is used twice, first in line 2"],
        ),
        (
            "jobs:\n- {id: first, file: a.py}\n- id: b\n  file: b.py\n  depends_on:\n  - frist\n  - zzz\n",
            [
                "line 6: b: its parent 'frist' is not a job of this pipeline; did you mean 'first'?",
                "line 7: b: its parent 'zzz' is not a job of this pipeline",
            ],
        ),
        ("jobs:\n- {id: a, file: a.py, depends_on: [a]}\n", ["line 2: a: it waits for itself"]),
        (
            "jobs:" + "".join(f"\n- {{id: {a}, file: a.py, depends_on: [{b}]}}" for a, b in ("ab", "bc", "ca")),
            ["line 2: a: a cycle: a waits for b waits for c waits for a"],
        ),
    ],
)
def test_what_is_no_pipeline(folder: Path, text: str, expected: list[str]) -> None:
    assert problems(folder, text) == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("scirpt: a.py", "unknown key scirpt; did you mean script?"),
        ("dependsOn: [b]", "unknown key dependsOn; did you mean depends_on?"),
        ("depends-on: [b]", "unknown key depends-on; did you mean depends_on?"),
        ("needs: [b]", "unknown key needs; did you mean depends_on?"),
        ("environment: {}", "unknown key environment; did you mean env?"),
        ("Port: 1", "unknown key Port; did you mean port?"),
        ("file: b.py", "the key file stands in line 4 already"),
        ("script: b.py", "the key script is the same as file, which stands in line 4 already"),
        ("port: 0", "port: 0 is out of range; 1 to 65535 is wanted"),
        ("port: 65536", "port: 65536 is out of range; 1 to 65535 is wanted"),
        ("port: -1", "port: -1 is out of range; 1 to 65535 is wanted"),
        ('port: "80"', 'port: a whole number is wanted, not the text "80"; leave the quotes out'),
        ("port: 8080.0", "port: a whole number is wanted, not 8080.0"),
        ("port: 0x50", "port: a whole number is wanted, not 0x50"),
        ("port: 0080", 'port: a whole number is wanted, not the text "0080"; leave the zeros in front out'),
        ("port: 1:30", "port: a whole number is wanted, not 1:30"),
        ("port: [1]", "port: a whole number is wanted, not a list"),
        ("port: " + "9" * 5000, "port: a whole number is wanted, not " + "9" * 60 + "..."),
        ("priority: high", 'priority: a whole number is wanted, not the text "high"'),
        ("priority: 9223372036854775808", f"priority: {2**63} is out of range; -{2**63 - 1} to {2**63 - 1} is wanted"),
        ("retries: -1", "retries: -1 is out of range; 0 to 10000 is wanted"),
        ("retries: true", "retries: a whole number is wanted, not true"),
        ("delay: 5s", 'delay: a number of seconds is wanted, not the text "5s"'),
        ("delay: -1", "delay: -1 s is out of range; 0 to 316224000 is wanted"),
        ("delay: .inf", "delay: a number of seconds is wanted, not .inf"),
        ("delay: 1e400", "delay: inf s is out of range; 0 to 316224000 is wanted"),
        ("timeout: 0", "timeout: 0 s is not above 0; leave timeout out for none"),
        ("timeout:", "timeout: a number of seconds is wanted, not nothing"),
        ("affinity: 1", "affinity: true or false is wanted, not 1"),
        ("fresh: 'yes'", 'fresh: true or false is wanted, not the text "yes"'),
        ("type: servise", f'type: the text "servise" {KINDS}; did you mean service?'),
        ("type: cron", f'type: the text "cron" {KINDS}'),
        (
            "requirement: [GPU, 'a b']",
            "requirement: 'a b' is not a capability; one word like GPU or HIGH_MEM is wanted",
        ),
        ("requirement: {GPU: 1}", "requirement: a capability or a list of them is wanted, not a map"),
        ("args: {a: 1}", "args: a list or a text is wanted, not a map"),
        ("args: [a, [b]]", "args: a text is wanted, not a list"),
        ("args: [null]", 'args: a text is wanted, not null; if null is the text, write "null"'),
        ("args: it's", 'args: the arguments "it\'s" cannot be split: no closing quotation'),
        ('args: ["\\0"]', "args: '\\x00' holds a NUL, which no argument or variable can"),
        ("env: [A]", "env: a map of variables is wanted, not a list"),
        ("env: {A: }", 'env: A: a text is wanted, not nothing; write "" for an empty one'),
        ("env: {A: 1, A: 2}", "env: the variable A is set twice"),
        ("env: {'A=B': 1}", "env: 'A=B' cannot name a variable of the environment"),
        ("python: ''", "python: an interpreter is wanted, not nothing"),
        ("cpus: 2 cores", 'cpus: a number of cores is wanted, not the text "2 cores"'),
        ("cpus: 4097", "cpus: 4097 is out of range; 0 to 4096 is wanted"),
        ("memory: much", "memory: 'much' is no amount of memory; 512MB or 1.5GB is how one is written"),
        ("gpus: 0.5", "gpus: a whole number is wanted, not 0.5"),
        ("depends_on: {b: 1}", "depends_on: a list of ids is wanted, not a map"),
        ("depends_on: ['a/b']", "depends_on: the job id 'a/b' holds '/', which a job id may not"),
    ],
)
def test_what_a_job_cannot_say(folder: Path, loader: str, line: str, expected: str) -> None:
    assert job_problems(folder, "affinity: no" if "affinity" not in line else "fresh: no", line) == [
        f"line 6: a: {expected}"
    ]


def test_a_job_that_runs_has_no_port(folder: Path) -> None:
    assert job_problems(folder, "port: 80", "type: run") == ["line 5: a: a job of type run has no port; a service has"]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("../a.py", "file: ../a.py leads out of the pipeline's folder"),
        ("scripts/../../a.py", "file: scripts/../../a.py leads out of the pipeline's folder"),
        ("/etc/passwd", "file: /etc/passwd is not relative to the pipeline's folder"),
        ("~/a.py", "file: ~/a.py is not relative to the pipeline's folder"),
        ("scripts\\clean.py", "file: 'scripts\\\\clean.py' holds a backslash; folders are parted by /"),
        ("scripts", "scripts is a folder; a file is wanted"),
        (".", "file: . is the pipeline's folder; a file in it is wanted"),
        ("script/clean.py", "there is no file script/clean.py in {}; did you mean 'scripts/clean.py'?"),
        ("pull.py", "there is no file pull.py in {}; did you mean 'scripts/deep/pull.py'?"),
        ("zzzzzz", "there is no file zzzzzz in {}"),
        ("x" * 250, "there is no file " + "x" * 250 + " in {}"),
    ],
)
def test_files_are_there_and_below_the_folder(folder: Path, file: str, expected: str) -> None:
    text = f"jobs:\n- id: a\n  file: '{file}'\n"
    assert problems(folder, text) == [f"line 3: a: {expected.format(folder.resolve())}"]


def test_files_of_a_project_are_those_that_travel(folder: Path) -> None:
    text = "project: true\njobs:\n- {id: a, file: scripts/claen.py}\n- {id: b, file: __pycache__/c.py}\n"
    assert problems(folder, text) == [
        f"line 3: a: there is no file scripts/claen.py in {folder.resolve()}; did you mean 'scripts/clean.py'?",
        "line 4: b: __pycache__/c.py does not travel in the project's zip; move it to another folder",
    ]


def test_a_project_that_cannot_travel(folder: Path) -> None:
    (folder / "out").symlink_to("/etc/passwd")
    (folder / "nowhere").symlink_to("missing")
    text = "name: x\nproject: true\njobs:\n- {id: a, file: a.py}\n- {id: b, file: c.py}\n"
    found = problems(folder, text)
    assert "line 2: nowhere: the symbolic link leads nowhere" in found
    assert any(line.startswith("line 2: out: the symbolic link leaves the folder") for line in found)


def test_everything_at_once_in_the_order_of_the_lines(folder: Path) -> None:
    text = """name: x
proyect: true
jobs:
  - id: "a'b"
    file: a.py
  - id: c
    file: nothing.py
    port: 70000
    depends_on: [d]
    timeout: never
  - id: d
    file: b.py
    depends_on: [c, e]
  - id: c
    file: a.py
"""
    found = problems(folder, text)
    lines = [int(each.split(":")[0].removeprefix("line ")) for each in found]
    assert lines == sorted(lines)
    expected = [
        (2, "did you mean project"),
        (4, "which a job id may not"),
        (6, "a cycle: c waits for d waits for c"),
        (7, "there is no file nothing.py"),
        (8, "port: 70000"),
        (10, "timeout: a number of seconds"),
        (13, "its parent 'e' is not a job"),
        (14, "used twice, first in line 6"),
    ]
    assert len(found) == len(expected)
    for problem, (line, part) in zip(found, expected, strict=True):
        assert problem.startswith(f"line {line}: ") and part in problem


def test_a_file_full_of_mistakes_is_told_in_part(folder: Path) -> None:
    text = "jobs:\n" + "- {id: a, file: a.py, x: 1}\n" * 300
    found = problems(folder, text)
    assert len(found) == MAX_PROBLEMS + 1
    assert found[-1] == f"... and {600 - 1 - MAX_PROBLEMS} more problems"


def test_ten_thousand_jobs_are_read_at_once(folder: Path) -> None:
    job = "- id: job-{}\n  file: a.py\n  args: [{}]\n  depends_on: [job-{}]\n"
    text = "jobs:\n- {id: job-0, file: a.py}\n" + "".join(job.format(n, n, n - 1) for n in range(1, 10_000))
    began = time.thread_time()
    assert len(parsed(folder, text).jobs) == 10_000
    wrong = text.replace("depends_on: [", "depends_on: [x-")
    assert len(problems(folder, wrong)) == MAX_PROBLEMS + 1
    assert time.thread_time() - began < 30.0, "with either parser; a second or two with libyaml"


def test_a_folder_that_cannot_be_read_is_a_problem_and_no_crash(folder: Path) -> None:
    text = "project: true\njobs: [{id: a, file: a.py}]\n"
    found = problems(folder / "missing", text)
    assert found and found[0].startswith("line 1: ")
    if os.geteuid():
        (folder / "scripts").chmod(0)
        try:
            assert "Permission denied" in problems(folder, text)[0]
        finally:
            (folder / "scripts").chmod(0o700)


# --- services ---


def test_services_say_how_they_are_kept_alive(folder: Path) -> None:
    text = """
name: shop
jobs:
  - id: api
    type: service
    file: scripts/clean.py
    port: auto
    restart: on-failure
    lifetime: run
    health: {path: /health, log: "up on [0-9]+", start: 5, interval: 0.5, failures: 2}
  - {id: web, file: scripts/clean.py, port: 80, health: /}
  - {id: user, file: scripts/clean.py, depends_on: api}
"""
    api, web, _ = parsed(folder, text).jobs
    assert api.spec("x.py").service == ServiceSpec(
        restart="on-failure", auto_port=True, health_path="/health", ready_line="up on [0-9]+", start_s=5,
        interval_s=0.5, failures=2, lifetime="run",
    )  # fmt: skip
    assert web.spec("x.py").service == ServiceSpec(health_path="/")


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("restart: allways", 'restart: the text "allways" is not a restart policy'),
        ("lifetime: 3", "lifetime: 3 is not a lifetime; stopped, run are"),
        ("health: {paht: /}", "health: paht: unknown key; the keys here are path, log, start, interval, failures"),
        ("health: {path: /, path: /}", "health: path: it is there twice"),
        ("health: {start: soon}", "health: start: a number of seconds is wanted"),
        ("port: automatic", "port: a whole number is wanted"),
    ],
)
def test_mistakes_in_the_upkeep_of_a_service(folder: Path, line: str, problem: str) -> None:
    text = f"jobs:\n  - id: a\n    type: service\n    file: scripts/clean.py\n    {line}\n"
    assert [found for found in problems(folder, text) if problem in found and found.startswith("line 5")]


# --- parameters -------------------------------------------------------------------------------------------------------

WITH_PARAMS = """params:
  region: eu
  day:
  n: 007
jobs:
  - id: a
    file: a.py
    args: ["--day=${params.day}", "$${params.nobody}"]
    env: {WHERE: "${params.region}-${params.n}"}
"""


def test_parameters_have_defaults_or_are_given(folder: Path, loader: str) -> None:
    pipeline = parsed(folder, WITH_PARAMS, day="mon", region="us")
    assert pipeline.params == {"region": "us", "day": "mon", "n": "007"}
    assert parsed(folder, JOB).params == {}


def test_parameters_that_are_missing_or_unknown(folder: Path) -> None:
    assert problems(folder, WITH_PARAMS, regio="us") == [
        "line 1: there is no parameter regio; did you mean region?",
        "line 3: the parameter day has no default and was not given; --param day=VALUE gives it",
    ]
    assert problems(folder, JOB, day="1") == ["there is no parameter day; the pipeline has none"]
    assert parse_pipeline(WITH_PARAMS.encode(), folder / "pipeline.yaml", None).params["day"] == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("params: [a]\n" + JOB, "line 1: params: a map of parameters and their defaults is wanted, not a list"),
        ("params: {a: [1]}\n" + JOB, "line 1: params: a: a text is wanted, not a list"),
        (
            "params: {1st: x}\n" + JOB,
            "line 1: params: '1st' is not a parameter's name; letters, digits and _ are wanted",
        ),
        ("params: {a: x, A: y}\n" + JOB, "line 1: params: a and A would both be TITAN_PARAM_A"),
        (
            "params: {a: x}\njobs:\n  - id: j\n    file: a.py\n    args: ${params.b}\n",
            "line 5: j: args: there is no parameter b; the parameters are a",
        ),
        (
            "jobs:\n  - id: j\n    file: a.py\n    env: {X: '${params.b}'}\n",
            "line 4: j: env: there is no parameter b; the pipeline has none",
        ),
    ],
)
def test_what_parameters_cannot_be(folder: Path, text: str, expected: str) -> None:
    (problem,) = problems(folder, text)
    assert problem.startswith(expected)


# --- schedules --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("schedule: '0 3 * * *'", Recurrence(cron="0 3 * * *")),
        ("schedule: '@hourly'", Recurrence(cron="@hourly")),
        ("every: 15m", Recurrence(every_ms=900_000)),
        ("every: 90", Recurrence(every_ms=90_000)),
        (
            "schedule: {every: 1h30m, overlap: queue, jitter: 5}",
            Recurrence(every_ms=5_400_000, overlap="queue", jitter_ms=5000),
        ),
        (
            "schedule: {cron: '0 0 1 * *', timezone: Asia/Tokyo, start: 2026-12-01, misfire: all, misfire_window: 2d}",
            Recurrence(
                cron="0 0 1 * *",
                timezone="Asia/Tokyo",
                start_at=1_796_050_800_000,
                misfire="all",
                misfire_window_ms=172_800_000,
            ),
        ),
    ],
)
def test_schedules(tmp_path: Path, text: str, wanted: Recurrence) -> None:
    (tmp_path / "a.py").touch()
    data = f"name: n\n{text}\njobs: [{{id: a, file: a.py}}]\n".encode()
    assert parse_pipeline(data, tmp_path / "p.yaml").schedule == wanted


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("schedule: 61 * * * *", "line 2: schedule: '61 * * * *' is no cron expression: bad minute"),
        ("schedule: hourly", "five fields are wanted"),
        ("schedule: {cron: '* * * * *', overlap: wait}", "overlap 'wait' is none of skip, queue, cancel, allow"),
        ("schedule: {cron: '* * * * *', time_zone: UTC}", "time_zone: unknown key; did you mean timezone?"),
        ("schedule: {cron: '* * * * *', timezone: Berlin}", "there is no time zone 'Berlin'"),
        ("schedule: {cron: '* * * * *', every: 1m}", "a cron expression or an interval, and not both"),
        ("schedule: {timezone: UTC}", "a cron expression or an interval"),
        ("every: soon", "'soon' is no duration"),
        ("every: 0.2s", "every 200ms is out of range"),
        ("schedule: '@daily'\nevery: 1m", "line 3: every: an interval and schedule cannot both be there"),
        ("schedule: {every: 1m, end: someday}", "end 'someday' is no time"),
        ("timezone: UTC", "unknown key timezone"),
    ],
)
def test_schedules_that_cannot_be(tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "a.py").touch()
    data = f"name: n\n{text}\njobs: [{{id: a, file: a.py}}]\n".encode()
    with pytest.raises(PipelineError) as caught:
        parse_pipeline(data, tmp_path / "p.yaml")
    assert any(said in str(problem) for problem in caught.value.problems), caught.value.problems
