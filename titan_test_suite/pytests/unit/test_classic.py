"""The classic dialect: what its texts mean, and that whatever is wrong with them is said."""

from __future__ import annotations

import base64

import pytest

from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as to_master
from titan_sdk import classic_to_worker as to_worker
from titan_sdk.classic import parse_to_master, parse_to_worker
from titan_sdk.classic_jobs import (
    ClassicJob,
    DeployPayload,
    RunArchive,
    RunPayload,
    StartArchiveService,
    format_dag,
    format_line,
    format_submission,
    parse_dag,
    parse_submission,
)
from titan_sdk.errors import (
    BadMessage,
    InvalidName,
    NotFound,
    PipelineError,
    Problem,
    ProtocolError,
    RemoteError,
    Saturated,
    TitanError,
)
from titan_sdk.messages import JobSpec, StateName
from titan_sdk.protocol import MAX_PAYLOAD, Frame, Opcode

ABC = "QUJD"


def one(line: str) -> ClassicJob:
    (job,) = parse_dag(line)
    return job


def problems_of(text: str) -> tuple[Problem, ...]:
    with pytest.raises(PipelineError) as caught:
        parse_dag(text)
    return caught.value.problems


# --- job lines ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "job"),
    [
        (
            f"a|RUN_PAYLOAD|a.py|x 'y z'|{ABC}|GPU|5|250|[]",
            ClassicJob("DAG-a", RunPayload("a.py", b"ABC", ("x", "y z"), ("GPU",)), 5, 250),
        ),
        (f"a|RUN_PAYLOAD|a.py|{ABC}|1|0|[]", ClassicJob("DAG-a", RunPayload("a.py", b"ABC"))),
        (f"a|RUN_PAYLOAD|a.py||{ABC}|1|0|[]", ClassicJob("DAG-a", RunPayload("a.py", b"ABC"))),
        (f"a|RUN_PAYLOAD|a.py|{ABC}|GPU|1|0|[]", ClassicJob("DAG-a", RunPayload("a.py", b"ABC", (), ("GPU",)))),
        ("a|RUN_PAYLOAD|a.py||1|0|[]", ClassicJob("DAG-a", RunPayload("a.py", b""))),
        (f"DAG-a|GENERAL|RUN_PAYLOAD|a.py||{ABC}|GPU|1|0|[]", one(f"a|RUN_PAYLOAD|a.py||{ABC}|GPU|1|0|[]")),
        (f"a|GPU|RUN_PAYLOAD|a.py|{ABC}|1|0|[]", one(f"a|RUN_PAYLOAD|a.py||{ABC}|GPU|1|0|[]")),
        (f"a|RUN_PAYLOAD|a.py|1 2|{ABC}|GENERAL|1|0", ClassicJob("DAG-a", RunPayload("a.py", b"ABC", ("1", "2")))),
        (
            f"s|DEPLOY_PAYLOAD|s.py|{ABC}|8000|GPU|1|0|[]",
            ClassicJob("DAG-s", DeployPayload("s.py", b"ABC", 8000, ("GPU",))),
        ),
        (f"s|DEPLOY_PAYLOAD|s.py|{ABC}|8000|2|3|[]", ClassicJob("DAG-s", DeployPayload("s.py", b"ABC", 8000), 2, 3)),
        (f"s|DEPLOY_PAYLOAD|s.py|{ABC}|8000|2", ClassicJob("DAG-s", DeployPayload("s.py", b"ABC", 8000), 2)),
        (f"s|DEPLOY_PAYLOAD|s.py|{ABC}|8000", ClassicJob("DAG-s", DeployPayload("s.py", b"ABC", 8000))),
        (
            "w|DEPLOY_PAYLOAD|Worker.jar|not looked at|8085|GPU|1|0|[]",
            ClassicJob("DAG-w", DeployPayload("Worker.jar", b"", 8085, ("GPU",))),
        ),
        (
            "p|RUN_ARCHIVE|project.zip/src/main.py|--fast|GPU|1|0|[]",
            ClassicJob("DAG-p", RunArchive("project.zip", "src/main.py", ("--fast",), ("GPU",))),
        ),
        ("p|RUN_ARCHIVE|project.zip/main.py|1|0|[]", ClassicJob("DAG-p", RunArchive("project.zip", "main.py"))),
        (
            "p|START_ARCHIVE_SERVICE|project.zip/s.py|-v|8000|GENERAL|1|0|[]",
            ClassicJob("DAG-p", StartArchiveService("project.zip", "s.py", ("-v",), 8000)),
        ),
        (f" a | RUN_PAYLOAD | a.py | | {ABC} | GENERAL | 1 | 0 | [ ] ", one(f"a|RUN_PAYLOAD|a.py|{ABC}")),
        (f"a|RUN_PAYLOAD|a.py||{ABC}|GENERAL|+7|0|[]", ClassicJob("DAG-a", RunPayload("a.py", b"ABC"), 7)),
        (f"a|RUN_PAYLOAD|a.py||{ABC}|GENERAL|-7|0|[]", ClassicJob("DAG-a", RunPayload("a.py", b"ABC"), -7)),
        (f"a|RUN_PAYLOAD|a.py||{ABC}|GPU,HIGH_MEM|1|0|[]", one(f"a|GPU,HIGH_MEM|RUN_PAYLOAD|a.py|{ABC}")),
    ],
)
def test_job_lines(line: str, job: ClassicJob) -> None:
    assert one(line) == job
    assert one(format_line(job)) == job


@pytest.mark.parametrize("flag", ["AFFINITY", "STICKY", "affinity"])
def test_parents_and_flags(flag: str) -> None:
    jobs = parse_dag(f"a|RUN_PAYLOAD|a.py|{ABC}|1|0|[]; b|RUN_PAYLOAD|b.py|{ABC}|1|0|[a, DAG-a]|{flag} ;")
    assert [job.id for job in jobs] == ["DAG-a", "DAG-b"]
    assert [job.parents for job in jobs] == [(), ("DAG-a",)]
    assert [job.affinity for job in jobs] == [False, True]
    assert parse_dag(format_dag(jobs)) == jobs


@pytest.mark.parametrize(
    ("line", "where", "text"),
    [
        ("a|PDF_CONVERT|in.pdf|1|0|[]", "DAG-a", "no handler for 'PDF_CONVERT|in.pdf'"),
        ("a", "DAG-a", "no handler"),
        ("a|1|0|[]", "DAG-a", "no handler"),
        ("|RUN_PAYLOAD|a.py|QUJD|1|0|[]", "DAG-", "without an id"),
        ("a/b|RUN_PAYLOAD|a.py|QUJD|1|0|[]", "DAG-a/b", "holds '/'"),
        ("a|RUN_PAYLOAD|1|0|[]", "DAG-a", "not base64"),
        ("a|RUN_PAYLOAD|a.py|x|y|QUJD|GENERAL|1|0|[]", "DAG-a", "has 5 fields"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1.5|0|[]", "DAG-a", "has 5 fields"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1|soon|[]", "DAG-a", "has 6 fields"),
        ("a|RUN_PAYLOAD|a.py||QUJ|GENERAL|1|0|[]", "DAG-a", "content of a.py is not base64"),
        ("a|RUN_PAYLOAD|a.py||QU*D|GENERAL|1|0|[]", "DAG-a", "not base64"),
        ("a|RUN_PAYLOAD|a.py||QUJDÄ|GENERAL|1|0|[]", "DAG-a", "not base64"),
        ("a|RUN_PAYLOAD|a.py|it's|QUJD|GENERAL|1|0|[]", "DAG-a", "no closing quotation"),
        ("a|RUN_PAYLOAD|a.py||QUJD|TWO WORDS|1|0|[]", "DAG-a", "not a capability"),
        ("a|RUN_PAYLOAD|../a.py||QUJD|GENERAL|1|0|[]", "DAG-a", "plain name"),
        ("a|RUN_PAYLOAD|a\0.py||QUJD|GENERAL|1|0|[]", "DAG-a", "plain name"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1|-5|[]", "DAG-a", "delay of -5 ms"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1|0|[b", "DAG-a", "no closing bracket"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1|0|[b c|d]", "DAG-a", "wanted"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1|0|['b']", "DAG-a", "the parent"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1|0|[b]", "DAG-a", "parent 'DAG-b' is not a job"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1|0|[a]", "DAG-a", "waits for itself"),
        ("a|DEPLOY_PAYLOAD|s.py|QUJD|70000|GENERAL|1|0|[]", "DAG-a", "70000 is out of range"),
        ("a|DEPLOY_PAYLOAD|s.py|QUJD|http|GENERAL|1|0|[]", "DAG-a", "port 'http'"),
        ("a|DEPLOY_PAYLOAD|s.py|QUJD", "DAG-a", "DEPLOY_PAYLOAD|file|base64|port|requirement"),
        ("a|RUN_ARCHIVE|project/main.py|1|0|[]", "DAG-a", "project.zip/path/entry.py"),
        ("a|RUN_ARCHIVE|project.zip|1|0|[]", "DAG-a", "project.zip/path/entry.py"),
        ("a|RUN_ARCHIVE|project.zip/../../etc/x|1|0|[]", "DAG-a", "'..'"),
        ("a|RUN_ARCHIVE|project.zip//etc/x|1|0|[]", "DAG-a", "relative"),
        ("a|RUN_PAYLOAD|a.py||QUJD|GENERAL|99999999999999999999|0|[]", "DAG-a", "fields"),
    ],
)
def test_a_bad_line_refuses_the_dag_and_is_named(line: str, where: str, text: str) -> None:
    good = f"good|RUN_PAYLOAD|a.py|{ABC}|1|0|[]"
    (problem,) = problems_of(f"{good};{line}")
    assert (problem.where, problem.line) == (where, 2)
    assert text in problem.text


def test_all_problems_of_a_dag_at_once() -> None:
    text = "; ".join(
        [
            f"a|RUN_PAYLOAD|a.py|{ABC}|1|0|[z]",
            "b|NONSENSE|1|0|[]",
            f"c|RUN_PAYLOAD|c.py|{ABC}|1|0|[b,e]",  # b exists, though nobody could read it
            f"a|RUN_PAYLOAD|a.py|{ABC}|1|0|[]",
            f"e|RUN_PAYLOAD|e.py|{ABC}|1|0|[c]",
        ]
    )
    assert [(problem.line, problem.where, problem.text.split(";")[0]) for problem in problems_of(text)] == [
        (1, "DAG-a", "its parent 'DAG-z' is not a job of this run"),
        (2, "DAG-b", "no handler for 'NONSENSE|1'"),
        (3, "DAG-c", "a cycle: DAG-c waits for DAG-e waits for DAG-c"),
        (4, "DAG-a", "the id is used twice, first in line 1"),
    ]


@pytest.mark.parametrize("text", ["", " ", ";", " ; ; "])
def test_an_empty_dag_is_refused(text: str) -> None:
    assert problems_of(text) == (Problem("", "there are no jobs"),)


def test_ten_thousand_lines_in_a_chain() -> None:
    lines = [f"{n}|RUN_PAYLOAD|a.py|{ABC}|1|0|[{n - 1 if n else ''}]" for n in range(10_000)]
    jobs = parse_dag(";".join(lines))
    assert len(jobs) == 10_000
    assert jobs[-1].parents == ("DAG-9998",)


def test_specs() -> None:
    digest = "b5d4045c3f466fa91fe2cc6abe79232a1a57cdf104f7a26e716e0a1e2789df78"
    assert one(f"a|RUN_PAYLOAD|a.py|x|{ABC}|GPU|5|250|[]").to_spec() == JobSpec(
        id="DAG-a", file="a.py", sha256=digest, size=3, args=("x",), requirement=("GPU",), priority=5, delay_ms=250
    )
    assert one(f"s|DEPLOY_PAYLOAD|s.py|{ABC}|8000|1|0|[]").to_spec() == JobSpec(
        id="DAG-s", file="s.py", sha256=digest, size=3, kind="service", port=8000
    )
    assert one("w|DEPLOY_PAYLOAD|Worker.jar||0|GPU|1|0|[]").to_spec() == JobSpec(
        id="DAG-w", file="Worker.jar", kind="worker", requirement=("GPU",)
    )
    assert one("p|START_ARCHIVE_SERVICE|p.zip/x/s.py|-v|8000|1|0|[]").to_spec("0" * 64, 9) == JobSpec(
        id="DAG-p", file="x/s.py", archive="p.zip", sha256="0" * 64, size=9, kind="service", args=("-v",), port=8000
    )


# --- single jobs --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "job"),
    [
        (f"RUN_PAYLOAD|a.py|{ABC}", ClassicJob("", RunPayload("a.py", b"ABC"))),
        (f"j|RUN_PAYLOAD|a.py|{ABC}|5", ClassicJob("j", RunPayload("a.py", b"ABC"), 5)),
        (
            f"j|RUN_PAYLOAD|a.py|x|{ABC}|GPU|5|250",
            ClassicJob("j", RunPayload("a.py", b"ABC", ("x",), ("GPU",)), 5, 250),
        ),
        (f"GENERAL|RUN_PAYLOAD|a.py|{ABC}|1|0", ClassicJob("", RunPayload("a.py", b"ABC"))),
        (f"GPU|RUN_PAYLOAD|a.py|{ABC}|1|0", ClassicJob("", RunPayload("a.py", b"ABC", (), ("GPU",)))),
        (f"GPU|GENERAL|RUN_PAYLOAD|a.py|{ABC}|1|0", ClassicJob("GPU", RunPayload("a.py", b"ABC"))),
        (f"RUN_PAYLOAD|a.py|{ABC}|1|0|[]", ClassicJob("", RunPayload("a.py", b"ABC"))),
        (f"DEPLOY_PAYLOAD|s.py|{ABC}|8000|5", ClassicJob("", DeployPayload("s.py", b"ABC", 8000), 5)),
    ],
)
def test_submissions(text: str, job: ClassicJob) -> None:
    assert parse_submission(text) == job
    assert parse_submission(format_submission(job)) == job


def test_a_capability_of_the_cluster_is_a_skill_and_no_id() -> None:
    text = f"FPGA|RUN_PAYLOAD|a.py|{ABC}|1|0"
    assert parse_submission(text).id == "FPGA"
    assert parse_submission(text, {"FPGA"}) == ClassicJob("", RunPayload("a.py", b"ABC", (), ("FPGA",)))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no handler"),
        ("PDF_CONVERT|data|1|0", "no handler for 'PDF_CONVERT|data|1'"),
        ("a/b|RUN_PAYLOAD|a.py|QUJD", "holds '/'"),
        ("RUN_PAYLOAD|a.py|QUJD|1|-1", "delay"),
        ("RUN_PAYLOAD|a.py|QUJD|1|0|[x]", "SUBMIT_DAG"),
    ],
)
def test_refused_submissions(text: str, reason: str) -> None:
    with pytest.raises(PipelineError) as caught:
        parse_submission(text)
    assert reason in str(caught.value)


# --- what this dialect cannot say ---------------------------------------------------------------------------------


@pytest.mark.parametrize("arg", ["a|b", "a;b", "a\nb", "a\0b"])
def test_arguments_that_need_the_structured_dialect(arg: str) -> None:
    with pytest.raises(BadMessage, match="classic"):
        format_line(ClassicJob("a", RunPayload("a.py", b"", (arg,))))
    with pytest.raises(BadMessage, match="classic"):
        to_worker.RunOnWorker("a", "a.py", (arg,)).format()


@pytest.mark.parametrize("args", [("",), ("a b", "'", '"', "\\", "$HOME", "*", "ü")])
def test_arguments_keep_their_quotes(args: tuple[str, ...]) -> None:
    job = ClassicJob("DAG-a", RunPayload("a.py", b"", args))
    assert one(format_line(job)).body == job.body


def test_other_names_that_cannot_be_said() -> None:
    with pytest.raises(BadMessage, match="';'"):
        format_line(ClassicJob("a", RunPayload("a;b.py", b"")))
    with pytest.raises(InvalidName):
        format_line(ClassicJob("a|b", RunPayload("a.py", b"")))
    with pytest.raises(BadMessage):
        format_submission(ClassicJob("a", RunPayload("a.py", b""), parents=("b",)))
    with pytest.raises(BadMessage):
        to_master.KvSet("a|b", "c").format()
    with pytest.raises(InvalidName):
        to_master.UploadAsset("../x", b"").format()


# --- requests -----------------------------------------------------------------------------------------------------


def test_fields_left_out() -> None:
    assert to_master.Register.parse("8080") == to_master.Register(8080, ("GENERAL",), False)
    assert to_master.Register.parse("8080||GPU") == to_master.Register(8080, ("GPU",), False)
    assert to_master.Register.parse("8080||||TRUE") == to_master.Register(8080, ("GENERAL",), True)
    assert to_master.Register.parse("8080||GPU,CPU||false").capabilities == ("GPU", "CPU")
    assert to_master.RunFile.parse("a.py") == to_master.RunFile("a.py", ("GENERAL",))
    assert to_master.Deploy.parse("s.py") == to_master.Deploy("s.py", 0, ("GENERAL",))
    assert to_master.Deploy.parse("s.py||GPU") == to_master.Deploy("s.py", 0, ("GPU",))
    assert to_master.Deploy.parse("Worker.jar") == to_master.Deploy("Worker.jar", 0, ("GENERAL",))
    assert to_master.Deploy.parse("TitanWorker.py|8085|GPU").port == 8085
    assert to_master.JobComplete.parse("a|FAILED") == to_master.JobComplete("a", False, "")
    assert to_worker.RunOnWorker.parse("a|a.py") == to_worker.RunOnWorker("a", "a.py", ())


@pytest.mark.parametrize(
    ("result", "exit_code", "output"),
    [
        ("COMPLETED|0|out|put\nmore", 0, "out|put\nmore"),
        ("COMPLETED|0|", 0, ""),
        ("FAILED|-9|gone", -9, "gone"),
        ("FAILED|x|gone", None, "FAILED|x|gone"),
        ("ERROR: no such file", None, "ERROR: no such file"),
        ("COMPLETED|²|x", None, "COMPLETED|²|x"),
        ("", None, ""),
    ],
)
def test_results_of_workers(result: str, exit_code: int | None, output: str) -> None:
    complete = to_master.JobComplete.parse(f"DAG-a|COMPLETED|{result}")
    assert (complete.exit_code, complete.output) == (exit_code, output)


@pytest.mark.parametrize(
    ("opcode", "payload", "reason"),
    [
        (Opcode.REGISTER, b"", "port||capability||isPermanent"),
        (Opcode.REGISTER, b"http||GPU", "port 'http'"),
        (Opcode.REGISTER, b"0||GPU", "out of range"),
        (Opcode.REGISTER, b"8080||two words", "capability"),
        (Opcode.REGISTER, b"8080||GPU||maybe", "neither true nor false"),
        (Opcode.DEPLOY, b"s.py|GPU", "port 'GPU'"),
        (Opcode.DEPLOY, b"s.py|-1", "out of range"),
        (Opcode.DEPLOY, b"", "filename|port|requirement"),
        (Opcode.RUN, b"../../etc/passwd", "plain name"),
        (Opcode.RUN, b"sub/a.py", "plain name"),
        (Opcode.RUN, b"a\0.py", "plain name"),
        (Opcode.STOP, b"", "missing"),
        (Opcode.STOP, b"a\nb", "not a job id"),
        (Opcode.KILL_WORKER, b"localhost", "host|port"),
        (Opcode.KILL_WORKER, b"localhost|99999", "out of range"),
        (Opcode.UNREGISTER_SERVICE, b" ", "missing"),
        (Opcode.JOB_COMPLETE, b"a", "jobId|STATUS|result"),
        (Opcode.JOB_COMPLETE, b"a|DONE|x", "neither COMPLETED nor FAILED"),
        (Opcode.LOG_STREAM, b"a", "jobId|text"),
        (Opcode.LOG_BATCH, b"|x", "jobId|text"),
        (Opcode.GET_LOGS, b"", "missing"),
        (Opcode.GET_JOB_STATUS, b"x" * 5000, "not a job id"),
        (Opcode.CANCEL_JOB, b"\0", "not a job id"),
        (Opcode.UPLOAD_ASSET, b"a.py", "name|base64"),
        (Opcode.UPLOAD_ASSET, b"../a.py|QUJD", "plain name"),
        (Opcode.UPLOAD_ASSET, b"/a.py|QUJD", "plain name"),
        (Opcode.UPLOAD_ASSET, b"a.py|QUJ", "not base64"),
        (Opcode.DEPLOY_SCRIPT, b"..|QUJD", "not a file name"),
        (Opcode.FETCH_ASSET, b"..", "not a file name"),
        (Opcode.FETCH_ASSET, b"a\0b", "plain name"),
        (Opcode.KV_SET, b"k", "key|value"),
        (Opcode.KV_SET, b"|v", "key|value"),
        (Opcode.KV_SET, b"a\0b|v", "control character"),
        (Opcode.KV_GET, b"", "empty"),
        (Opcode.KV_SADD, b"k", "key|member"),
        (Opcode.KV_SMEMBERS, b"", "empty"),
        (Opcode.LOG_STREAM, b"a|\xff", "not UTF-8 text: byte 2 is 0xff"),
        (Opcode.HEARTBEAT, b"", "unknown opcode 0x01"),
        (0x7F, b"", "unknown opcode 0x7f"),
    ],
)
def test_bad_requests_to_the_master(opcode: int, payload: bytes, reason: str) -> None:
    with pytest.raises((BadMessage, InvalidName)) as caught:
        parse_to_master(opcode, payload)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("opcode", "payload", "reason"),
    [
        (Opcode.STAGE, b"../a.py|QUJD", "plain name"),
        (Opcode.RUN, b"a", "jobId|filename|args"),
        (Opcode.RUN, b"../a|a.py|", "may not"),
        (Opcode.RUN, b"a|b/../../c.py|", "plain name"),
        (Opcode.RUN, b"a|a.py|'", "no closing quotation"),
        (Opcode.RUN_ARCHIVE, b"a|/etc/x|QUJD", "relative"),
        (Opcode.RUN_ARCHIVE, b"a|../x|QUJD", "'..'"),
        (Opcode.RUN_ARCHIVE, b"a|x.py|zip", "not base64"),
        (Opcode.START_SERVICE, b"s.py|svc", "filename|serviceId|port"),
        (Opcode.START_SERVICE, b"s.py|svc|web", "port 'web'"),
        (Opcode.START_SERVICE_ARCHIVE, b"svc|s.py|8000", "serviceId|entry|port|base64 zip"),
        (Opcode.CANCEL_JOB, b"", "missing"),
        (Opcode.SUBMIT_DAG, b"", "unknown opcode 0x04"),
    ],
)
def test_bad_requests_to_a_worker(opcode: int, payload: bytes, reason: str) -> None:
    with pytest.raises((BadMessage, InvalidName)) as caught:
        parse_to_worker(opcode, payload)
    assert reason in str(caught.value)


def test_base64_with_line_breaks() -> None:
    content = bytes(range(256)) * 4
    wrapped = base64.encodebytes(content).decode()
    assert "\n" in wrapped
    assert to_master.UploadAsset.parse(f"a.bin|{wrapped}").content == content


def test_log_lines_are_not_touched() -> None:
    assert to_master.LogStream.parse("a| x | y ").text == " x | y "
    assert to_master.LogBatch.parse("a|\n\nx\n").text == "\n\nx\n"
    assert to_master.KvSet.parse("k| v |").value == " v |"


# --- replies ------------------------------------------------------------------------------------------------------


def ack(text: str, opcode: int = Opcode.ACK) -> Frame:
    return Frame(opcode, text.encode())


@pytest.mark.parametrize(
    "reply",
    [
        ack("ERROR no", Opcode.ERROR),
        ack("no", Opcode.ERROR),
        ack("ERROR: no"),
        ack("UPLOAD_FAILED: disk"),
        ack("DEPLOY_FAILED"),
        ack("UNKNOWN_OPCODE"),
    ],
)
def test_both_kinds_of_errors_are_read(reply: Frame) -> None:
    with pytest.raises(RemoteError) as caught:
        replies.reply_text(Opcode.UPLOAD_ASSET, reply)
    assert str(caught.value) == reply.payload.decode()


def test_errors_that_have_a_meaning() -> None:
    with pytest.raises(NotFound):
        replies.reply_text(Opcode.FETCH_ASSET, ack("ERROR_NOT_FOUND"))
    with pytest.raises(Saturated):
        replies.reply_text(Opcode.RUN, ack("ERROR_WORKER_SATURATED", Opcode.ERROR))
    assert replies.error_frame(Saturated("all four slots are busy")) == ack("ERROR_WORKER_SATURATED", Opcode.ERROR)


def test_a_log_or_value_that_looks_like_an_error_is_none() -> None:
    assert replies.reply_text(Opcode.GET_LOGS, ack("ERROR in line 3")) == "ERROR in line 3"
    assert replies.reply_text(Opcode.KV_GET, ack("ERROR")) == "ERROR"
    with pytest.raises(RemoteError):
        replies.reply_text(Opcode.KV_GET, ack("ERROR", Opcode.ERROR))


def test_what_is_no_reply() -> None:
    assert replies.reply_text(Opcode.KILL_WORKER, ack("bye", Opcode.KILL_WORKER)) == "bye"
    for frame in (ack("x", Opcode.RUN), Frame(Opcode.ACK, b"\x80", 1, 0)):
        with pytest.raises(ProtocolError):
            replies.reply_text(Opcode.STOP, frame)
    with pytest.raises(BadMessage):
        replies.reply_text(Opcode.STOP, Frame(Opcode.ACK, b"\xff"))


def test_an_error_begins_with_error_and_has_an_end() -> None:
    assert replies.error_frame(NotFound("no job x")).payload == b"ERROR no job x"
    assert replies.error_frame(TitanError("ERROR twice")).payload == b"ERROR twice"
    assert len(replies.error_frame("x" * 10_000_000).payload) < 100_000


def test_reading_replies() -> None:
    assert replies.Pong.parse("PONG|2|4") == replies.Pong(2, 4)
    assert replies.parse_queued("JOB_QUEUEDTSK-1f on GPU") == "TSK-1f"
    assert replies.parse_queued("JOB_QUEUED TSK-1f on GPU") == "TSK-1f"
    assert replies.ServiceStarted.parse("DEPLOYED_SUCCESS | ID: my svc | PID: 7") == replies.ServiceStarted("my svc", 7)
    assert replies.parse_members("") == []
    assert replies.parse_members("a,b") == ["a", "b"]
    for text in ("", "PONG", "PONG|x|4", "PONG|1|2|3"):
        with pytest.raises(BadMessage):
            replies.Pong.parse(text)
    with pytest.raises(BadMessage):
        replies.parse_queued("JOB_ACCEPTED")
    with pytest.raises(BadMessage):
        replies.ServiceStarted.parse("DEPLOYED_SUCCESS")


def test_states() -> None:
    states: tuple[StateName, ...] = (
        "WAITING", "DELAYED", "PENDING", "RUNNING", "COMPLETED", "DEAD", "CANCELLED", "SKIPPED",
    )  # fmt: skip
    assert [replies.classic_state(state) for state in states] == [
        "PENDING", "PENDING", "PENDING", "RUNNING", "COMPLETED", "DEAD", "CANCELLED", "CANCELLED",
    ]  # fmt: skip


def test_as_much_of_a_logs_end_as_a_frame_holds() -> None:
    assert replies.log_frame(b"") == Frame(Opcode.ACK, b"")
    assert replies.log_frame(b"a\xff\nb\n").payload == "a\ufffd\nb".encode()
    log = "é".encode() * (MAX_PAYLOAD // 2 + 10) + b"!\n"
    payload = replies.log_frame(log).payload
    assert payload.decode() == "é" * (len(payload) // 2) + "!"
    assert MAX_PAYLOAD - 4 <= len(payload) <= MAX_PAYLOAD
    assert len(replies.log_frame(b"\xff" * MAX_PAYLOAD).payload) <= MAX_PAYLOAD
