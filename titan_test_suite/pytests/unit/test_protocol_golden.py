"""Golden bytes of every opcode: what is on the wire, written out, so that nobody changes it by accident.

The frames are put together here by hand, from numbers and literals only.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pytest

from titan_sdk import classic_replies as replies
from titan_sdk import classic_to_master as to_master
from titan_sdk import classic_to_worker as to_worker
from titan_sdk import messages
from titan_sdk.classic import parse_to_master, parse_to_worker
from titan_sdk.classic_jobs import ClassicJob, RunPayload
from titan_sdk.classic_request import ClassicRequest
from titan_sdk.errors import BadMessage, BadRequest, BadVersion, FrameTooLarge, NotFound, Problem, UnknownFlags
from titan_sdk.messages import (
    Accepted,
    AddJobs,
    AddMembers,
    AgentRun,
    AgentRuns,
    ApprovalInfo,
    ApprovalList,
    Budget,
    CancelAttempt,
    CancelJob,
    CloseRun,
    ClusterChanges,
    Content,
    Decide,
    Decommission,
    DeleteKey,
    DeleteSchedule,
    Deploy,
    Deregister,
    Dispatch,
    Expire,
    FetchContent,
    FileItem,
    FileList,
    FiringInfo,
    FiringList,
    GetJob,
    GetLogs,
    GetRunTree,
    GetSpecs,
    GetStats,
    GetStatsJson,
    Heartbeat,
    Hello,
    Increment,
    JobInfo,
    JobList,
    JobReport,
    JobSpec,
    JobStarted,
    KillWorker,
    KvAdded,
    KvEntries,
    KvEntry,
    KvGet,
    KvItems,
    KvKeys,
    KvListMembers,
    KvMemberPage,
    KvMembers,
    KvPart,
    KvSadd,
    KvSet,
    KvSmembers,
    KvUpdate,
    KvUpdated,
    KvValue,
    Lease,
    ListAgentRuns,
    ListApprovals,
    ListFiles,
    ListFirings,
    ListJobs,
    ListRuns,
    ListSchedules,
    ListServices,
    ListWorkers,
    LogChunk,
    LogPiece,
    LogState,
    LogTarget,
    Missing,
    MissingContent,
    Ok,
    PauseSchedule,
    PopItem,
    PushItems,
    PutSchedule,
    Recurrence,
    Register,
    Registered,
    RemoveMembers,
    Rerun,
    Restart,
    Restarted,
    RunFile,
    RunInfo,
    RunOptions,
    RunPage,
    RunSummary,
    RunTree,
    Scale,
    Scaled,
    ScheduleInfo,
    ScheduleList,
    ScheduleSaved,
    ScheduleSpec,
    ServiceInfo,
    ServiceList,
    SetValue,
    SpecList,
    StatsData,
    StatsText,
    Stop,
    StreamLogs,
    SubmitRun,
    Triggered,
    TriggerSchedule,
    UploadChunk,
    UploadState,
    Verdict,
    WatchCluster,
    WatchLogs,
    WatchRun,
    Welcome,
    WorkerInfo,
    WorkerList,
)
from titan_sdk.protocol import MAX_PAYLOAD, Frame, FrameDecoder, Opcode, encode_frame
from titan_sdk.refusals import read_answer, refusal_payload


class Golden(NamedTuple):
    """A structured request and its answer: the messages, and the numbers and payloads that they are on the wire."""

    request: messages.Request
    opcode: int
    payload: bytes
    answer: messages.Message
    answer_opcode: int
    answer_payload: bytes


LEASE = Lease(job="r1/a", attempt=2, epoch=7)

DAILY = Recurrence(cron="@daily", timezone="Europe/Berlin", overlap="queue")
SCHEDULE = ScheduleInfo(
    name="n",
    when=Recurrence(every_ms=60_000),
    created_at=1,
    updated_at=2,
    jobs=["a"],
    total=1,
    next_due=[7],
    fired=1,
)
FIRING = FiringInfo(number=2, due_at=5, at=6, outcome="fired", run_id="r1", state="COMPLETED", ended_at=9)

STRUCTURED = [
    Golden(
        Hello(token="secret", role="worker"),
        0x80,
        b"\x82\xa5token\xa6secret\xa4role\xa6worker",
        Welcome(master_id="m", term=3, version="0.1"),
        0x52,
        b"\x83\xa9master_id\xa1m\xa4term\x03\xa7version\xa30.1",
    ),
    Golden(
        SubmitRun(name="n", jobs=[JobSpec(id="a", file="a.py", args=("x|y", ";"), priority=-1)], idempotency_key="k"),
        0x04,
        b"\x83\xa4name\xa1n\xa4jobs\x91\xde\x00\x04\xa2id\xa1a\xa4file\xa4a.py\xa4args\x92\xa3x|y\xa1;\xa8priority\xff\xafidempotency_key\xa1k",
        Accepted(run_id="r1", jobs=["r1/a"]),
        0x52,
        b"\x82\xa6run_id\xa2r1\xa4jobs\x91\xa4r1/a",
    ),
    Golden(
        SubmitRun(name="n", jobs=[], options=RunOptions(params={"p": "v"}, budget=Budget(max_jobs=2))),
        0x04,
        b"\x83\xa4name\xa1n\xa4jobs\x90\xa7options\x82\xa6params\x81\xa1p\xa1v\xa6budget\x81\xa8max_jobs\x02",
        Accepted(run_id="r1", jobs=[]),
        0x52,
        b"\x82\xa6run_id\xa2r1\xa4jobs\x90",
    ),
    Golden(
        RunFile(file="a.py", requirement=("GPU", "GENERAL")),
        0x06,
        b"\x82\xa4file\xa4a.py\xabrequirement\x92\xa3GPU\xa7GENERAL",
        Accepted(run_id="r1", jobs=["r1/a"]),
        0x52,
        b"\x82\xa6run_id\xa2r1\xa4jobs\x91\xa4r1/a",
    ),
    Golden(
        Deploy(file="s.py", port=8000),
        0x05,
        b"\x82\xa4file\xa4s.py\xa4port\xcd\x1f@",
        Accepted(run_id="r1", jobs=["r1/s"]),
        0x52,
        b"\x82\xa6run_id\xa2r1\xa4jobs\x91\xa4r1/s",
    ),
    Golden(
        Stop(id="s"),
        0x07,
        b"\x81\xa2id\xa1s",
        Ok(text="stopped"),
        0x50,
        b"\x81\xa4text\xa7stopped",
    ),
    Golden(
        CancelJob(id="r1"),
        0x56,
        b"\x81\xa2id\xa2r1",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        KillWorker(host="10.0.0.1", port=8080),
        0x11,
        b"\x82\xa4host\xa810.0.0.1\xa4port\xcd\x1f\x90",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        GetStats(),
        0x08,
        b"\x80",
        StatsText(text="--- TITAN"),
        0x52,
        b"\x81\xa4text\xa9--- TITAN",
    ),
    Golden(
        GetStatsJson(),
        0x09,
        b"\x80",
        StatsData(data={"active_workers": 1}),
        0x52,
        b"\x81\xa4data\x81\xaeactive_workers\x01",
    ),
    Golden(
        GetJob(id="a"),
        0x55,
        b"\x81\xa2id\xa1a",
        JobInfo(key="r1/a", id="a", run_id="r1", file="a.py", state="RUNNING", attempt=1),
        0x52,
        b"\xde\x00\x06\xa3key\xa4r1/a\xa2id\xa1a\xa6run_id\xa2r1\xa4file\xa4a.py\xa5state\xa7RUNNING\xa7attempt\x01",
    ),
    Golden(
        WatchRun(id="r1", since=4, wait_s=2.5),
        0x81,
        b"\x83\xa2id\xa2r1\xa5since\x04\xa6wait_s\xcb@\x04\x00\x00\x00\x00\x00\x00",
        RunInfo(run_id="r1", name="n", version=5, finished=False),
        0x52,
        b"\x84\xa6run_id\xa2r1\xa4name\xa1n\xa7version\x05\xa8finished\xc2",
    ),
    Golden(
        ListJobs(states=("DEAD",), limit=5),
        0x82,
        b"\x82\xa6states\x91\xa4DEAD\xa5limit\x05",
        JobList(jobs=[], total=0),
        0x52,
        b"\x82\xa4jobs\x90\xa5total\x00",
    ),
    Golden(
        ListWorkers(),
        0x83,
        b"\x80",
        WorkerList(
            workers=[
                WorkerInfo(worker_id="w", host="h", port=8080, state="alive", capabilities=("GPU",), slots=4, busy=1)
            ]
        ),
        0x52,
        b"\x81\xa7workers\x91\xde\x00\x07\xa9worker_id\xa1w\xa4host\xa1h\xa4port\xcd\x1f\x90\xa5state\xa5alive\xaccapabilities\x91\xa3GPU\xa5slots\x04\xa4busy\x01",
    ),
    Golden(
        messages.ListEvents(since=3, wait_s=1.5),
        0xA0,
        b"\x82\xa5since\x03\xa6wait_s\xcb?\xf8\x00\x00\x00\x00\x00\x00",
        messages.EventList(
            events=[messages.EventInfo(seq=4, at=1000, kind="worker-left", subject="h:1", text="SIGTERM")], last=4
        ),
        0x52,
        b"\x82\xa6events\x91\x85\xa3seq\x04\xa2at\xcd\x03\xe8\xa4kind\xabworker-left\xa7subject\xa3h:1\xa4text\xa7SIGTERM\xa4last\x04",
    ),
    Golden(
        messages.Cordon(host="h", port=8080, undo=True),
        0xA1,
        b"\x83\xa4host\xa1h\xa4port\xcd\x1f\x90\xa4undo\xc3",
        Ok(text="done"),
        0x50,
        b"\x81\xa4text\xa4done",
    ),
    Golden(
        messages.ExplainJob(id="a"),
        0xA2,
        b"\x81\xa2id\xa1a",
        messages.Explanation(
            job=JobInfo(key="r/a", id="a", run_id="r", file="a.py", state="PENDING"),
            summary="s",
            workers=[messages.WorkerReason(worker="h:1", text="t")],
        ),
        0x52,
        b"\x83\xa3job\xde\x00\x05\xa3key\xa3r/a\xa2id\xa1a\xa6run_id\xa1r\xa4file\xa4a.py\xa5state\xa7PENDING\xa7summary\xa1s\xa7workers\x91\x82\xa6worker\xa3h:1\xa4text\xa1t",
    ),
    Golden(
        GetLogs(id="a", offset=-100),
        0x16,
        b"\x82\xa2id\xa1a\xa6offset\xd0\x9c",
        LogChunk(attempt=1, offset=0, data=b"\xff\n", size=2, finished=True),
        0x52,
        b"\x85\xa7attempt\x01\xa6offset\x00\xa4data\xc4\x02\xff\n\xa4size\x02\xa8finished\xc3",
    ),
    Golden(
        MissingContent(sha256=["00"]),
        0x84,
        b"\x81\xa6sha256\x91\xa200",
        Missing(sha256=["00"]),
        0x52,
        b"\x81\xa6sha256\x91\xa200",
    ),
    Golden(
        UploadChunk(sha256="00", size=3, offset=1, data=b"bc", staged=True),
        0x53,
        b"\x85\xa6sha256\xa200\xa4size\x03\xa6offset\x01\xa4data\xc4\x02bc\xa6staged\xc3",
        UploadState(received=3, complete=True),
        0x52,
        b"\x82\xa8received\x03\xa8complete\xc3",
    ),
    Golden(
        FetchContent(sha256="00", offset=1),
        0x54,
        b"\x82\xa6sha256\xa200\xa6offset\x01",
        Content(offset=1, data=b"bc", size=3, sha256="00"),
        0x52,
        b"\x84\xa6offset\x01\xa4data\xc4\x02bc\xa4size\x03\xa6sha256\xa200",
    ),
    Golden(
        KvSet(key="k", value=b"\x00\xff"),
        0x60,
        b"\x82\xa3key\xa1k\xa5value\xc4\x02\x00\xff",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        KvGet(key="k"),
        0x61,
        b"\x81\xa3key\xa1k",
        KvValue(value=None),
        0x52,
        b"\x81\xa5value\xc0",
    ),
    Golden(
        KvSadd(key="k", member="m"),
        0x62,
        b"\x82\xa3key\xa1k\xa6member\xa1m",
        KvAdded(added=True),
        0x52,
        b"\x81\xa5added\xc3",
    ),
    Golden(
        KvSmembers(key="k"),
        0x63,
        b"\x81\xa3key\xa1k",
        KvMembers(members=["a", "b"]),
        0x52,
        b"\x81\xa7members\x92\xa1a\xa1b",
    ),
    Golden(
        KvUpdate(
            key="k", change=SetValue(value=b"\x00\xff", condition="equals", expected=b"a", ttl_ms=1500), request_id="r"
        ),
        0xD0,
        b"\x83\xa3key\xa1k\xa6change\x85\xa4type\xa3set\xa5value\xc4\x02\x00\xff\xa9condition\xa6equals\xa8expected\xc4\x01a\xa6ttl_ms\xcd\x05\xdc\xaarequest_id\xa1r",
        KvUpdated(done=False, value=b"b"),
        0x52,
        b"\x82\xa4done\xc2\xa5value\xc4\x01b",
    ),
    Golden(
        ListApprovals(id="r1", decided=True, limit=5),
        0xD4,
        b"\x83\xa2id\xa2r1\xa7decided\xc3\xa5limit\x05",
        ApprovalList(
            approvals=[
                ApprovalInfo(
                    key="r1/a",
                    number=1,
                    message="?",
                    asked_at=1000,
                    decision="approved",
                )
            ],
            total=1,
        ),
        0x52,
        b"\x82\xa9approvals\x91\x85\xa3key\xa4r1/a\xa6number\x01\xa7message\xa1?\xa8asked_at\xcd\x03\xe8\xa8decision\xa8approved\xa5total\x01",
    ),
    Golden(
        Decide(id="a", approve=False, by="ann", comment="no", number=1, request_id="q"),
        0xD5,
        b"\x86\xa2id\xa1a\xa7approve\xc2\xa2by\xa3ann\xa7comment\xa2no\xa6number\x01\xaarequest_id\xa1q",
        ApprovalInfo(key="r1/a", number=1, message="?", asked_at=1000, expires_at=9000, on_timeout="approve"),
        0x52,
        b"\x86\xa3key\xa4r1/a\xa6number\x01\xa7message\xa1?\xa8asked_at\xcd\x03\xe8\xaaexpires_at\xcd#(\xaaon_timeout\xa7approve",
    ),
    Golden(
        KvKeys(prefix="p", after="pa", limit=2),
        0xD1,
        b"\x83\xa6prefix\xa1p\xa5after\xa2pa\xa5limit\x02",
        KvEntries(entries=[KvEntry(key="pb", kind="list", size=3, expires_at=1000)], more=True),
        0x52,
        b"\x82\xa7entries\x91\x84\xa3key\xa2pb\xa4kind\xa4list\xa4size\x03\xaaexpires_at\xcd\x03\xe8\xa4more\xc3",
    ),
    Golden(
        KvItems(key="k", start=-3, count=2),
        0xD2,
        b"\x83\xa3key\xa1k\xa5start\xfd\xa5count\x02",
        KvPart(items=[b"a", b"\xff"], length=5, start=2),
        0x52,
        b"\x83\xa5items\x92\xc4\x01a\xc4\x01\xff\xa6length\x05\xa5start\x02",
    ),
    Golden(
        KvListMembers(key="k", after=7, limit=2),
        0xD3,
        b"\x83\xa3key\xa1k\xa5after\x07\xa5limit\x02",
        KvMemberPage(members=["a", "b"], next=9),
        0x52,
        b"\x82\xa7members\x92\xa1a\xa1b\xa4next\t",
    ),
    Golden(
        KvUpdate(key="k", change=DeleteKey(expected=b"a")),
        0xD0,
        b"\x82\xa3key\xa1k\xa6change\x82\xa4type\xa6delete\xa8expected\xc4\x01a",
        KvUpdated(done=True, number=2),
        0x52,
        b"\x82\xa4done\xc3\xa6number\x02",
    ),
    Golden(
        KvUpdate(key="k", change=Increment(by=-2)),
        0xD0,
        b"\x82\xa3key\xa1k\xa6change\x82\xa4type\xa9increment\xa2by\xfe",
        KvUpdated(done=True, number=2),
        0x52,
        b"\x82\xa4done\xc3\xa6number\x02",
    ),
    Golden(
        KvUpdate(key="k", change=AddMembers(members=("a",))),
        0xD0,
        b"\x82\xa3key\xa1k\xa6change\x82\xa4type\xa3add\xa7members\x91\xa1a",
        KvUpdated(done=True, number=2),
        0x52,
        b"\x82\xa4done\xc3\xa6number\x02",
    ),
    Golden(
        KvUpdate(key="k", change=RemoveMembers(members=("a",))),
        0xD0,
        b"\x82\xa3key\xa1k\xa6change\x82\xa4type\xa6remove\xa7members\x91\xa1a",
        KvUpdated(done=True, number=2),
        0x52,
        b"\x82\xa4done\xc3\xa6number\x02",
    ),
    Golden(
        KvUpdate(key="k", change=PushItems(items=(b"a",), left=True)),
        0xD0,
        b"\x82\xa3key\xa1k\xa6change\x83\xa4type\xa4push\xa5items\x91\xc4\x01a\xa4left\xc3",
        KvUpdated(done=True, number=2),
        0x52,
        b"\x82\xa4done\xc3\xa6number\x02",
    ),
    Golden(
        KvUpdate(key="k", change=PopItem(left=True)),
        0xD0,
        b"\x82\xa3key\xa1k\xa6change\x82\xa4type\xa3pop\xa4left\xc3",
        KvUpdated(done=True, number=2),
        0x52,
        b"\x82\xa4done\xc3\xa6number\x02",
    ),
    Golden(
        KvUpdate(key="k", change=Expire(ttl_ms=5)),
        0xD0,
        b"\x82\xa3key\xa1k\xa6change\x82\xa4type\xa6expire\xa6ttl_ms\x05",
        KvUpdated(done=True, number=2),
        0x52,
        b"\x82\xa4done\xc3\xa6number\x02",
    ),
    Golden(
        Register(worker_id="w", boot_id="b", port=8080, capabilities=("GENERAL",), slots=4, holding=[LEASE]),
        0x02,
        b"\xde\x00\x06\xa9worker_id\xa1w\xa7boot_id\xa1b\xa4port\xcd\x1f\x90\xaccapabilities\x91\xa7GENERAL\xa5slots\x04\xa7holding\x91\x83\xa3job\xa4r1/a\xa7attempt\x02\xa5epoch\x07",
        Registered(worker_id="w", lease_s=30.0, heartbeat_s=5.0, stale=[LEASE]),
        0x52,
        b"\x84\xa9worker_id\xa1w\xa7lease_s\xcb@>\x00\x00\x00\x00\x00\x00\xabheartbeat_s\xcb@\x14\x00\x00\x00\x00\x00\x00\xa5stale\x91\x83\xa3job\xa4r1/a\xa7attempt\x02\xa5epoch\x07",
    ),
    Golden(
        Heartbeat(cpu_percent=12.5),
        0x01,
        b"\x81\xabcpu_percent\xcb@)\x00\x00\x00\x00\x00\x00",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        JobStarted(lease=LEASE, pid=99, started_at=1000),
        0x85,
        b"\x83\xa5lease\x83\xa3job\xa4r1/a\xa7attempt\x02\xa5epoch\x07\xa3pidc\xaastarted_at\xcd\x03\xe8",
        Verdict(stale=True),
        0x52,
        b"\x81\xa5stale\xc3",
    ),
    Golden(
        JobReport(lease=LEASE, outcome="failed", exit_code=-9, log_size=2, log_tail=b"hi"),
        0x12,
        b"\x85\xa5lease\x83\xa3job\xa4r1/a\xa7attempt\x02\xa5epoch\x07\xa7outcome\xa6failed\xa9exit_code\xf7\xa8log_size\x02\xa8log_tail\xc4\x02hi",
        Verdict(),
        0x52,
        b"\x80",
    ),
    Golden(
        JobReport(lease=LEASE, outcome="completed", outputs=b'{"n":1}'),
        0x12,
        b'\x83\xa5lease\x83\xa3job\xa4r1/a\xa7attempt\x02\xa5epoch\x07\xa7outcome\xa9completed\xa7outputs\xc4\x07{"n":1}',
        Verdict(),
        0x52,
        b"\x80",
    ),
    Golden(
        LogPiece(lease=LEASE, offset=5, data=b"\x00"),
        0x17,
        b"\x83\xa5lease\x83\xa3job\xa4r1/a\xa7attempt\x02\xa5epoch\x07\xa6offset\x05\xa4data\xc4\x01\x00",
        LogState(received=6),
        0x52,
        b"\x81\xa8received\x06",
    ),
    Golden(
        Deregister(reason="drained"),
        0x86,
        b"\x81\xa6reason\xa7drained",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        Restart(id="api"),
        0x91,
        b"\x81\xa2id\xa3api",
        Restarted(jobs=["r1/api"]),
        0x52,
        b"\x81\xa4jobs\x91\xa6r1/api",
    ),
    Golden(
        Scale(id="api", count=2),
        0x92,
        b"\x82\xa2id\xa3api\xa5count\x02",
        Scaled(started=["r2/api.2"], stopped=[]),
        0x52,
        b"\x82\xa7started\x91\xa8r2/api.2\xa7stopped\x90",
    ),
    Golden(
        ListServices(name="api"),
        0x90,
        b"\x81\xa4name\xa3api",
        ServiceList(
            services=[
                ServiceInfo(
                    job=JobInfo(key="r1/a", id="a", run_id="r1", file="a.py", state="RUNNING", port=80, restarts=2),
                    status="ready",
                    memory_bytes=7,
                )
            ]
        ),
        0x52,
        b"\x81\xa8services\x91\x83\xa3job\xde\x00\x07\xa3key\xa4r1/a\xa2id\xa1a\xa6run_id\xa2r1\xa4file\xa4a.py"
        b"\xa5state\xa7RUNNING\xa8restarts\x02\xa4portP\xa6status\xa5ready\xacmemory_bytes\x07",
    ),
    Golden(
        Dispatch(lease=LEASE, spec=JobSpec(id="a", file="a.py", kind="service", port=80, env={"A": "1"})),
        0x03,
        b"\x82\xa5lease\x83\xa3job\xa4r1/a\xa7attempt\x02\xa5epoch\x07\xa4spec\xde\x00\x05\xa2id\xa1a\xa4file\xa4a.py\xa4kind\xa7service\xa3env\x81\xa1A\xa11\xa4portP",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        CancelAttempt(lease=LEASE, reason="asked"),
        0x56,
        b"\x82\xa5lease\x83\xa3job\xa4r1/a\xa7attempt\x02\xa5epoch\x07\xa6reason\xa5asked",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        Decommission(reason="idle"),
        0x87,
        b"\x81\xa6reason\xa4idle",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        WatchCluster(feed="f", since=3, wait_s=2.0),
        0xB0,
        b"\x83\xa4feed\xa1f\xa5since\x03\xa6wait_s\xcb@\x00\x00\x00\x00\x00\x00\x00",
        ClusterChanges(feed="f", version=4, reset=True, counts={"DEAD": 1}),
        0x52,
        b"\x84\xa4feed\xa1f\xa7version\x04\xa5reset\xc3\xa6counts\x81\xa4DEAD\x01",
    ),
    Golden(
        AddJobs(id="r1", jobs=[JobSpec(id="b", file="b.py", parents=("a",))], idempotency_key="k", parent="r1/a"),
        0xC0,
        b"\x84\xa2id\xa2r1\xa4jobs\x91\xde\x00\x03\xa2id\xa1b\xa4file\xa4b.py\xa7parents\x91\xa1a\xafidempotency_key\xa1k\xa6parent\xa4r1/a",
        Accepted(run_id="r1", jobs=["r1/b"]),
        0x52,
        b"\x82\xa6run_id\xa2r1\xa4jobs\x91\xa4r1/b",
    ),
    Golden(CloseRun(id="r1"), 0xC1, b"\x81\xa2id\xa2r1", Ok(), 0x50, b"\x80"),
    Golden(
        GetRunTree(id="r1", depth=2),
        0xC2,
        b"\x82\xa2id\xa2r1\xa5depth\x02",
        RunTree(runs=[RunSummary(run_id="r1", name="n", finished=True, open=True, agent_run_id="A")], total=1),
        0x52,
        b"\x82\xa4runs\x91\x85\xa6run_id\xa2r1\xa4name\xa1n\xa8finished\xc3\xa4open\xc3\xacagent_run_id\xa1A\xa5total\x01",
    ),
    Golden(
        Rerun(id="r1", failed=True, idempotency_key="k", jobs=("a",)),
        0xC3,
        b"\x84\xa2id\xa2r1\xa6failed\xc3\xafidempotency_key\xa1k\xa4jobs\x91\xa1a",
        Accepted(run_id="r2", jobs=[]),
        0x52,
        b"\x82\xa6run_id\xa2r2\xa4jobs\x90",
    ),
    Golden(
        ListAgentRuns(limit=2),
        0xC4,
        b"\x81\xa5limit\x02",
        AgentRuns(agents=[AgentRun(agent_run_id="A", runs=1, finished=False, states={"DEAD": 1})]),
        0x52,
        b"\x81\xa6agents\x91\x84\xacagent_run_id\xa1A\xa4runs\x01\xa8finished\xc2\xa6states\x81\xa4DEAD\x01",
    ),
    Golden(
        CancelJob(id="r1", children=True),
        0x56,
        b"\x82\xa2id\xa2r1\xa8children\xc3",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        ListRuns(limit=2),
        0xB1,
        b"\x81\xa5limit\x02",
        RunPage(runs=[RunSummary(run_id="run", name="n", finished=True, total=1, states={"DEAD": 1})], total=1),
        0x52,
        b"\x82\xa4runs\x91\x85\xa6run_id\xa3run\xa4name\xa1n\xa8finished\xc3\xa5total\x01\xa6states\x81\xa4DEAD\x01\xa5total\x01",
    ),
    Golden(
        GetSpecs(id="run"),
        0xB2,
        b"\x81\xa2id\xa3run",
        SpecList(name="n", jobs=[JobSpec(id="a", file="a.py")]),
        0x52,
        b"\x82\xa4name\xa1n\xa4jobs\x91\xde\x00\x02\xa2id\xa1a\xa4file\xa4a.py",
    ),
    Golden(
        messages.WatchSettled(runs=("r",), feed="f", since=3, wait_s=1.5),
        0xE8,
        b"\x84\xa4runs\x91\xa1r\xa4feed\xa1f\xa5since\x03\xa6wait_s\xcb?\xf8\x00\x00\x00\x00\x00\x00",
        messages.SettledJobs(feed="f", version=4, more=True),
        0x52,
        b"\x83\xa4feed\xa1f\xa7version\x04\xa4more\xc3",
    ),
    Golden(
        ListFiles(staged=True),
        0xB3,
        b"\x81\xa6staged\xc3",
        FileList(files=[FileItem(name="a.py", size=3, modified_at=1, folder="staged")]),
        0x52,
        b"\x81\xa5files\x91\x84\xa4name\xa4a.py\xa4size\x03\xabmodified_at\x01\xa6folder\xa6staged",
    ),
    Golden(
        WatchLogs(target=LogTarget(watch=b"w" * 8, host="h", port=9, secret=b"s" * 16, jobs=("run/a",)), ttl_s=5.0),
        0xB4,
        b"\x82\xa6target\x85\xa5watch\xc4\x08wwwwwwww\xa4host\xa1h\xa4port\t\xa6secret\xc4\x10ssssssssssssssss\xa4jobs\x91\xa5run/a\xa5ttl_s\xcb@\x14\x00\x00\x00\x00\x00\x00",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        StreamLogs(targets=[LogTarget(watch=b"w" * 8, host="h", port=9, secret=b"s" * 16, jobs=("run/a",))]),
        0xB5,
        b"\x81\xa7targets\x91\x85\xa5watch\xc4\x08wwwwwwww\xa4host\xa1h\xa4port\t\xa6secret\xc4\x10ssssssssssssssss\xa4jobs\x91\xa5run/a",
        Ok(),
        0x50,
        b"\x80",
    ),
    Golden(
        PutSchedule(
            spec=ScheduleSpec(
                name="n",
                jobs=(JobSpec(id="a", file="a.py"),),
                when=DAILY,
            )
        ),
        0xE0,
        b"\x81\xa4spec\x83\xa4name\xa1n\xa4jobs\x91\xde\x00\x02\xa2id\xa1a\xa4file\xa4a.py\xa4when\x83\xa4cron\xa6@daily\xa8tim"
        b"ezone\xadEurope/Berlin\xa7overlap\xa5queue",
        ScheduleSaved(
            schedule=ScheduleInfo(
                name="n",
                when=Recurrence(every_ms=60_000),
                created_at=1,
                updated_at=2,
                jobs=["a"],
                total=1,
                next_due=[7],
                fired=1,
            ),
            created=True,
        ),
        0x52,
        b"\x82\xa8schedule\xde\x00\x08\xa4name\xa1n\xa4when\x81\xa8every_ms\xcd\xea`\xaacreated_at\x01\xaaupdated_a"
        b"t\x02\xa4jobs\x91\xa1a\xa5total\x01\xa8next_due\x91\x07\xa5fired\x01\xa7created\xc3",
    ),
    Golden(
        ListSchedules(name="n", next=5),
        0xE1,
        b"\x82\xa4name\xa1n\xa4next\x05",
        ScheduleList(
            schedules=[
                ScheduleInfo(
                    name="n",
                    when=Recurrence(every_ms=60_000),
                    created_at=1,
                    updated_at=2,
                    jobs=["a"],
                    total=1,
                    next_due=[7],
                    fired=1,
                    last_run=FiringInfo(
                        number=2, due_at=5, at=6, outcome="fired", run_id="r1", state="COMPLETED", ended_at=9
                    ),
                )
            ],
            total=1,
        ),
        0x52,
        b"\x82\xa9schedules\x91\xde\x00\t\xa4name\xa1n\xa4when\x81\xa8every_ms\xcd\xea`\xaacreated_at\x01\xaaupdated"
        b"_at\x02\xa4jobs\x91\xa1a\xa5total\x01\xa8next_due\x91\x07\xa8last_run\x87\xa6number\x02\xa6due_at\x05\xa2at\x06"
        b"\xa7outcome\xa5fired\xa6run_id\xa2r1\xa5state\xa9COMPLETED\xa8ended_at\t\xa5fired\x01\xa5to"
        b"tal\x01",
    ),
    Golden(
        PauseSchedule(name="n", undo=True),
        0xE2,
        b"\x82\xa4name\xa1n\xa4undo\xc3",
        ScheduleInfo(
            name="n",
            when=Recurrence(every_ms=60_000),
            created_at=1,
            updated_at=2,
            jobs=["a"],
            total=1,
            next_due=[7],
            fired=1,
        ),
        0x52,
        b"\xde\x00\x08\xa4name\xa1n\xa4when\x81\xa8every_ms\xcd\xea`\xaacreated_at\x01\xaaupdated_at\x02\xa4jobs\x91\xa1a"
        b"\xa5total\x01\xa8next_due\x91\x07\xa5fired\x01",
    ),
    Golden(
        TriggerSchedule(name="n"),
        0xE3,
        b"\x81\xa4name\xa1n",
        Triggered(run_id="r1"),
        0x52,
        b"\x81\xa6run_id\xa2r1",
    ),
    Golden(
        DeleteSchedule(name="n"),
        0xE4,
        b"\x81\xa4name\xa1n",
        Ok(text="n is deleted"),
        0x50,
        b"\x81\xa4text\xacn is deleted",
    ),
    Golden(
        ListFirings(name="n", limit=10, before=3),
        0xE5,
        b"\x83\xa4name\xa1n\xa5limit\n\xa6before\x03",
        FiringList(firings=[FIRING]),
        0x52,
        b"\x81\xa7firings\x91\x87\xa6number\x02\xa6due_at\x05\xa2at\x06\xa7outcome\xa5fired\xa6run_id\xa2r1\xa5stat"
        b"e\xa9COMPLETED\xa8ended_at\t",
    ),
]


class Classic(NamedTuple):
    """A classic request and the text it is."""

    request: ClassicRequest
    opcode: int
    text: str


# QUJD is ABC.
TO_MASTER = [
    Classic(to_master.Register(8080, ("GPU",), True), 0x02, "8080||GPU||true"),
    Classic(
        to_master.SubmitJob(ClassicJob("j", RunPayload("a.py", b"ABC", ("x", "y z"), ("GPU",)), 5, 250)),
        0x03,
        "j|RUN_PAYLOAD|a.py|x 'y z'|QUJD|GPU|5|250",
    ),
    Classic(
        to_master.SubmitDag(
            (
                ClassicJob("DAG-a", RunPayload("a.py", b"ABC")),
                ClassicJob("DAG-b", RunPayload("b.sh", b""), -1, 0, ("DAG-a",), True),
            )
        ),
        0x04,
        "DAG-a|RUN_PAYLOAD|a.py||QUJD|GENERAL|1|0|[];DAG-b|RUN_PAYLOAD|b.sh|||GENERAL|-1|0|[DAG-a]|AFFINITY",
    ),
    Classic(to_master.Deploy("Worker.jar", 8085, ("GPU",)), 0x05, "Worker.jar|8085|GPU"),
    Classic(to_master.RunFile("a.py", ("GPU",)), 0x06, "a.py|GPU"),
    Classic(to_master.Stop("svc"), 0x07, "svc"),
    Classic(to_master.GetStats(), 0x08, ""),
    Classic(to_master.GetStatsJson(), 0x09, ""),
    Classic(to_master.UnregisterService("svc"), 0x0A, "svc"),
    Classic(to_master.CleanStats(), 0x0B, ""),
    Classic(to_master.KillWorker("10.0.0.1", 8080), 0x11, "10.0.0.1|8080"),
    Classic(to_master.JobComplete("DAG-a", True, "COMPLETED|0|a|b\nc"), 0x12, "DAG-a|COMPLETED|COMPLETED|0|a|b\nc"),
    Classic(to_master.LogStream("DAG-a", "one | line"), 0x15, "DAG-a|one | line"),
    Classic(to_master.GetLogs("DAG-a"), 0x16, "DAG-a"),
    Classic(to_master.LogBatch("DAG-a", "eins\nzw\u00f6lf"), 0x17, "DAG-a|eins\nzw\u00f6lf"),
    Classic(to_master.UploadAsset("a.py", b"ABC"), 0x53, "a.py|QUJD"),
    Classic(to_master.FetchAsset("a.py"), 0x54, "a.py"),
    Classic(to_master.GetJobStatus("DAG-a"), 0x55, "DAG-a"),
    Classic(to_master.CancelJob("DAG-a"), 0x56, "DAG-a"),
    Classic(to_master.DeployScript("a.py", b"ABC"), 0x57, "a.py|QUJD"),
    Classic(to_master.KvSet("k", "v|w"), 0x60, "k|v|w"),
    Classic(to_master.KvGet("k"), 0x61, "k"),
    Classic(to_master.KvAdd("k", "m"), 0x62, "k|m"),
    Classic(to_master.KvMembers("k"), 0x63, "k"),
]

TO_WORKER = [
    Classic(to_worker.Ping(), 0x01, ""),
    Classic(to_worker.RunOnWorker("DAG-a", "a.py", ("x", "y z")), 0x06, "DAG-a|a.py|x 'y z'"),
    Classic(to_worker.StopOnWorker("svc"), 0x07, "svc"),
    Classic(to_worker.Stage("a.py", b"ABC"), 0x0C, "a.py|QUJD"),
    Classic(to_worker.StartOnWorker("s.py", "svc", 8000), 0x0D, "s.py|svc|8000"),
    Classic(to_worker.EndWorker(), 0x11, ""),
    Classic(to_worker.RunArchiveOnWorker("DAG-a", "src/a.py", b"ABC"), 0x18, "DAG-a|src/a.py|QUJD"),
    Classic(to_worker.StartArchiveOnWorker("svc", "src/s.py", 8000, b"ABC"), 0x19, "svc|src/s.py|8000|QUJD"),
    Classic(to_worker.CancelOnWorker("DAG-a"), 0x56, "DAG-a"),
]

REPLIES = [
    (replies.ok_frame(replies.REGISTERED), 0x50, "REGISTERED"),
    (replies.ok_frame(replies.JOB_ACCEPTED), 0x50, "JOB_ACCEPTED"),
    (replies.ok_frame(replies.DAG_ACCEPTED), 0x50, "DAG_ACCEPTED"),
    (replies.ok_frame(replies.format_queued("TSK-1", ("GPU",))), 0x50, "JOB_QUEUEDTSK-1 on GPU"),
    (replies.ok_frame(replies.DEPLOY_QUEUED), 0x50, "DEPLOY_QUEUED"),
    (replies.ok_frame(replies.format_stopped("svc")), 0x50, "STOPPED: svc"),
    (replies.ok_frame(replies.format_unknown_service("svc")), 0x50, "UNKNOWN_SERVICE: svc"),
    (replies.ok_frame(replies.format_success("gone")), 0x50, "SUCCESS: gone"),
    (replies.ok_frame(replies.UNREGISTERED), 0x50, "ACK_UNREGISTERED"),
    (replies.ok_frame(replies.CALLBACK), 0x50, "ACK_CALLBACK"),
    (replies.ok_frame(replies.LOG_TAKEN), 0x50, "ACK_LOG"),
    (replies.ok_frame(replies.BATCH_TAKEN), 0x50, "ACK_BATCH"),
    (replies.log_frame(b"a\nb\n"), 0x50, "a\nb"),
    (replies.ok_frame(replies.UPLOADED), 0x50, "UPLOAD_SUCCESS"),
    (replies.ok_frame(replies.SCRIPT_DEPLOYED), 0x50, "DEPLOY_SUCCESS"),
    (replies.error_frame(replies.FILE_NOT_FOUND), 0x51, "ERROR_NOT_FOUND"),
    (replies.ok_frame(replies.classic_state("DELAYED")), 0x50, "PENDING"),
    (replies.ok_frame(replies.NULL), 0x50, "NULL"),
    (replies.ok_frame(replies.CANCELLED), 0x50, "CANCELLED"),
    (replies.ok_frame(replies.NOT_FOUND), 0x50, "NOT_FOUND"),
    (replies.ok_frame(replies.OK), 0x50, "OK"),
    (replies.ok_frame(replies.format_members(["a", "b"])), 0x50, "a,b"),
    (replies.ok_frame(replies.Pong(2, 4).format()), 0x50, "PONG|2|4"),
    (replies.ok_frame(replies.format_file_saved("x/a.py")), 0x50, "FILE_SAVED: x/a.py"),
    (replies.ok_frame(replies.ServiceStarted("svc", 9).format()), 0x50, "DEPLOYED_SUCCESS | ID: svc | PID: 9"),
    (replies.ok_frame(replies.KILLED), 0x50, "KILLED"),
    (replies.error_frame(replies.SATURATED), 0x51, "ERROR_WORKER_SATURATED"),
    (replies.error_frame("no such file"), 0x51, "ERROR no such file"),
]


def frame_bytes(opcode: int, payload: bytes, flags: int = 0, spare: int = 0) -> bytes:
    """A frame as PROTOCOL.md section 1 draws it, without our encoder."""
    return bytes([1, opcode, flags, spare]) + len(payload).to_bytes(4, "big") + payload


def decode_one(data: bytes) -> Frame:
    decoder = FrameDecoder()
    decoder.receive(data)
    frame = decoder.next_frame()
    assert frame is not None
    assert decoder.next_frame() is None
    assert decoder.pending == 0
    return frame


def name_of(golden: Golden | Classic) -> str:
    return type(golden.request).__name__


@pytest.mark.parametrize("golden", STRUCTURED, ids=name_of)
def test_structured_request(golden: Golden) -> None:
    wire = frame_bytes(golden.opcode, golden.payload, flags=1, spare=7)
    payload = messages.encode_message(golden.request)
    assert encode_frame(Frame(golden.request.OPCODE, payload, 1, 7)) == wire
    frame = decode_one(wire)
    assert (frame.opcode, frame.flags, frame.spare) == (golden.opcode, 1, 7)
    table = {**messages.TO_MASTER, **messages.TO_WORKER}
    if type(golden.request) is messages.CancelJob:  # CANCEL_JOB means one thing to a master, another to a worker
        table = messages.TO_MASTER
    assert messages.decode_message(frame.payload, table[frame.opcode]) == golden.request


@pytest.mark.parametrize("golden", STRUCTURED, ids=name_of)
def test_structured_answer(golden: Golden) -> None:
    wire = frame_bytes(golden.answer_opcode, golden.answer_payload, flags=1, spare=255)
    opcode = Opcode.ACK if isinstance(golden.answer, messages.Ok) else Opcode.DATA
    assert encode_frame(Frame(opcode, messages.encode_message(golden.answer), 1, 255)) == wire
    assert type(golden.answer) is golden.request.ANSWER
    assert read_answer(decode_one(wire), golden.request.ANSWER) == golden.answer


def test_structured_error() -> None:
    error = NotFound("no job x", [Problem("x", "unknown", 3)])
    payload = (
        b"\x83\xa4code\xa9not_found\xa7message\xa8no job x"
        b"\xa8problems\x91\x83\xa5where\xa1x\xa4text\xa7unknown\xa4line\x03"
    )
    assert refusal_payload(error) == payload
    answer = read_answer(decode_one(frame_bytes(0x51, payload, flags=1, spare=7)), messages.Ok)
    assert type(answer) is NotFound
    assert (answer.message, answer.problems) == ("no job x", (Problem("x", "unknown", 3),))


def test_every_structured_request_has_a_vector() -> None:
    kinds = {type(golden.request) for golden in STRUCTURED}
    assert kinds == {*messages.TO_MASTER.values(), *messages.TO_WORKER.values()}


def test_fields_of_a_newer_peer_are_ignored_and_missing_ones_named() -> None:
    assert messages.decode_message(b"\x82\xa5token\xa1t\xa3new\x01", messages.Hello) == messages.Hello(token="t")
    with pytest.raises(BadMessage, match="token"):
        messages.decode_message(b"\x80", messages.Hello)


def test_maps_may_have_any_header() -> None:
    """Another encoder writes the shortest header where ours keeps room for every field."""
    payload = b"\x82\xa2id\xa1a\xa4file\xa4a.py"
    assert messages.decode_message(payload, messages.JobSpec) == messages.JobSpec(id="a", file="a.py")


@pytest.mark.parametrize("golden", TO_MASTER, ids=name_of)
def test_classic_request_to_master(golden: Classic) -> None:
    check_classic(golden, parse_to_master)


@pytest.mark.parametrize("golden", TO_WORKER, ids=name_of)
def test_classic_request_to_worker(golden: Classic) -> None:
    check_classic(golden, parse_to_worker)


def check_classic(golden: Classic, parse: Callable[[int, bytes], ClassicRequest]) -> None:
    wire = frame_bytes(golden.opcode, golden.text.encode())
    assert encode_frame(Frame(golden.request.OPCODE, golden.request.format().encode())) == wire
    frame = decode_one(wire)
    assert (frame.flags, frame.spare) == (0, 0)
    assert parse(frame.opcode, frame.payload) == golden.request


@pytest.mark.parametrize(("frame", "opcode", "text"), REPLIES, ids=[text for _, _, text in REPLIES])
def test_classic_reply(frame: Frame, opcode: int, text: str) -> None:
    assert encode_frame(frame) == frame_bytes(opcode, text.encode())


def test_every_opcode_of_the_contract_has_a_vector() -> None:
    written = {
        *(golden.opcode for golden in STRUCTURED),
        *(golden.answer_opcode for golden in STRUCTURED),
        *(golden.opcode for golden in (*TO_MASTER, *TO_WORKER)),
        *(opcode for _, opcode, _ in REPLIES),
    }
    assert written == {int(opcode) for opcode in Opcode}
    assert set(to_master.TO_MASTER) == {golden.opcode for golden in TO_MASTER}
    assert set(to_worker.TO_WORKER) == {golden.opcode for golden in TO_WORKER}


def test_whole_frames_byte_by_byte() -> None:
    """The same as above once more, without any helper."""
    register = b"\x01\x02\x00\x00\x00\x00\x00\x0f8080||GPU||true"
    assert encode_frame(Frame(Opcode.REGISTER, b"8080||GPU||true")) == register
    hello = b"\x01\x80\x01\x2a\x00\x00\x00\x09\x81\xa5token\xa1t"
    assert encode_frame(Frame(Opcode.HELLO, messages.encode_message(messages.Hello(token="t")), 1, 42)) == hello
    empty = b"\x01\x08\x00\x00\x00\x00\x00\x00"
    assert decode_one(empty) == Frame(0x08, b"")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"\x02", BadVersion),
        (b"GET / HTTP/1.1", BadVersion),
        (b"\x00\x01\x00\x00\x00\x00\x00\x00", BadVersion),
        (b"\x01\x01\x04\x00\x00\x00\x00\x00", UnknownFlags),
        (b"\x01\x01\x81\x00\x00\x00\x00\x00", UnknownFlags),
        (b"\x01\x01\x02\x00\x00\x00\x00\x00", UnknownFlags),
        (b"\x01\x01\x00\x00\x00\xa0\x00\x01", FrameTooLarge),
        (b"\x01\x01\x00\x00\xff\xff\xff\xff", FrameTooLarge),
    ],
)
def test_refused_headers(data: bytes, error: type[Exception]) -> None:
    decoder = FrameDecoder()
    decoder.receive(frame_bytes(0x08, b"first") + data)
    assert decoder.next_frame() == Frame(0x08, b"first")
    for _ in range(2):  # such a stream has no next frame
        with pytest.raises(error):
            decoder.next_frame()
        decoder.receive(frame_bytes(0x08, b"later"))
    assert decoder.pending == 0


def test_the_largest_frame_and_one_byte_more() -> None:
    assert MAX_PAYLOAD == 10_485_760
    largest = b"\x01\x08\x00\x00\x00\xa0\x00\x00" + bytes(MAX_PAYLOAD)
    assert encode_frame(Frame(0x08, bytes(MAX_PAYLOAD))) == largest
    assert decode_one(largest) == Frame(0x08, bytes(MAX_PAYLOAD))
    with pytest.raises(FrameTooLarge):
        encode_frame(Frame(0x08, bytes(MAX_PAYLOAD + 1)))


def test_a_refusal_always_fits_a_frame() -> None:
    problems = [Problem(f"job{n}", "\udc80" + "x" * 100_000) for n in range(2000)]
    payload = refusal_payload(BadRequest("y" * 1_000_000, problems))
    assert len(payload) < MAX_PAYLOAD
    answer = read_answer(Frame(Opcode.ERROR, payload, 1), messages.Ok)
    assert type(answer) is BadRequest
    assert answer.message.startswith("yyy")
    assert answer.problems[0].where == "job0"
    assert answer.problems[-1].text == "... and more"


def test_insides_of_a_failure_do_not_travel() -> None:
    answer = read_answer(Frame(Opcode.ERROR, refusal_payload(ValueError("/home/me/secret")), 1), messages.Ok)
    assert "secret" not in str(answer)
    assert b"secret" not in replies.error_frame(ValueError("/home/me/secret")).payload


def test_what_cannot_be_said_is_refused_when_it_is_encoded() -> None:
    with pytest.raises(BadMessage, match="KvSadd"):
        messages.encode_message(messages.KvSadd(key="k", member="\udc80"))
    with pytest.raises(BadMessage, match="Stop"):
        messages.decode_message(b"\x81\xa2id\xa1\xff", messages.Stop)
