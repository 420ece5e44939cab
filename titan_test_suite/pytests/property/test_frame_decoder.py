"""For all bytes: however a stream is cut, the same frames; and whatever it holds, only errors of ours."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from titan_sdk import messages
from titan_sdk.classic import parse_to_master, parse_to_worker
from titan_sdk.classic_jobs import (
    Body,
    ClassicJob,
    DeployPayload,
    RunArchive,
    RunPayload,
    StartArchiveService,
    format_dag,
    format_submission,
    parse_dag,
    parse_submission,
)
from titan_sdk.classic_replies import Pong, ServiceStarted, log_frame, parse_queued, reply_text
from titan_sdk.errors import ProtocolError, TitanError
from titan_sdk.protocol import MAX_PAYLOAD, STRUCTURED, Frame, FrameDecoder, Opcode, encode_frame
from titan_sdk.refusals import read_answer

EXAMPLES = settings(max_examples=200, deadline=None)

opcodes = st.integers(0, 255)
contents = st.binary(max_size=300) | st.sampled_from([bytes(70_000), b"\x01" * 4096])
frames = st.one_of(
    st.tuples(opcodes, contents).map(lambda parts: Frame(*parts)),
    st.tuples(opcodes, contents, st.sampled_from([1, 3]), st.integers(0, 255)).map(lambda parts: Frame(*parts)),
)
small_frames = frames.filter(lambda frame: len(frame.payload) < 1000)
# Random bytes are refused at their first byte: broken streams must begin well to get anywhere.
headers = st.builds(
    lambda opcode, flags, spare, length: bytes([1, opcode, flags, spare]) + length.to_bytes(4, "big"),
    opcodes,
    st.sampled_from([0, 1, 2, 3, 4, 255]),
    st.integers(0, 255),
    st.sampled_from([0, 1, 5, MAX_PAYLOAD, MAX_PAYLOAD + 1, 2**32 - 1]),
)
streams = st.lists(st.one_of(headers, st.binary(max_size=20), small_frames.map(encode_frame)), max_size=6).map(b"".join)


def cut(data: bytes, points: list[int]) -> list[bytes]:
    places = sorted({min(point, len(data)) for point in points})
    edges = [0, *places, len(data)]
    return [data[a:b] for a, b in itertools.pairwise(edges)]


def decode(pieces: list[bytes], *, eager: bool) -> tuple[list[Frame], type[Exception] | None, int]:
    """The frames, the kind of error the stream ends with, and the bytes that remain.

    Frames are taken after every piece, or only once all pieces are in.
    """
    decoder = FrameDecoder()
    found: list[Frame] = []
    try:
        for piece in pieces:
            decoder.receive(piece)
            while eager and (frame := decoder.next_frame()) is not None:
                found.append(frame)
        while (frame := decoder.next_frame()) is not None:
            found.append(frame)
    except ProtocolError as error:
        return found, type(error), decoder.pending
    return found, None, decoder.pending


@EXAMPLES
@given(st.lists(frames, max_size=8), st.lists(st.integers(0, 3000), max_size=30), st.booleans())
def test_any_cutting_gives_the_frames_that_were_sent(sent: list[Frame], points: list[int], eager: bool) -> None:
    data = b"".join(map(encode_frame, sent))
    assert decode(cut(data, points), eager=eager) == (sent, None, 0)


@EXAMPLES
@given(st.lists(small_frames, max_size=4))
def test_byte_by_byte(sent: list[Frame]) -> None:
    data = b"".join(map(encode_frame, sent))
    assert decode([bytes([byte]) for byte in data], eager=True) == (sent, None, 0)


@EXAMPLES
@given(streams, st.lists(st.integers(0, 500), max_size=20))
@example(b"\x01", [])
@example(b"\x02", [])
@example(b"\x01\x01\x00\x00\xff\xff\xff\xff", [4])
def test_any_bytes_give_the_same_frames_and_the_same_error(data: bytes, points: list[int]) -> None:
    whole = decode([data], eager=True)
    assert decode(cut(data, points), eager=True) == whole
    assert decode([bytes([byte]) for byte in data], eager=True) == whole
    assert decode(cut(data, points), eager=False) == whole
    assert whole[2] <= len(data)


@EXAMPLES
@given(st.binary(max_size=200))
def test_random_bytes_raise_protocol_errors_only(data: bytes) -> None:
    decode([data], eager=True)


def test_a_refused_length_costs_no_memory() -> None:
    decoder = FrameDecoder()
    decoder.receive(b"\x01\x01\x00\x00\xff\xff\xff\xff")
    for _ in range(3):
        with pytest.raises(ProtocolError):
            decoder.next_frame()
        decoder.receive(bytes(1_000_000))
        assert decoder.pending == 0


# --- structured payloads ------------------------------------------------------------------------------------------

kinds: list[type[messages.Message]] = sorted(
    {
        *(kind for table in (messages.TO_MASTER, messages.TO_WORKER) for kind in table.values()),
        *(kind.ANSWER for table in (messages.TO_MASTER, messages.TO_WORKER) for kind in table.values()),
        messages.ErrorReply,
    },
    key=lambda kind: kind.__name__,
)
values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@st.composite
def nearly(draw: st.DrawFn) -> tuple[type[messages.Message], bytes]:
    """A map with fields of a message, each of any type, and perhaps cut off or with a byte changed."""
    kind = draw(st.sampled_from(kinds))
    fields = draw(st.lists(st.sampled_from([*kind.__struct_fields__, "unknown"]), unique=True))
    content: dict[str, Any] = {field: draw(values) for field in fields}
    payload = bytearray(msgspec.msgpack.encode(content))
    if draw(st.booleans()):
        payload = payload[: draw(st.integers(0, len(payload)))]
    elif draw(st.booleans()):
        payload[draw(st.integers(0, len(payload) - 1))] = draw(st.integers(0, 255))
    return kind, bytes(payload)


@settings(EXAMPLES, max_examples=500)
@given(nearly())
def test_payloads_that_are_nearly_right(case: tuple[type[messages.Message], bytes]) -> None:
    kind, payload = case
    try:
        message = messages.decode_message(payload, kind)
    except ProtocolError:
        return
    assert messages.decode_message(messages.encode_message(message), kind) is not None


@EXAMPLES
@given(st.sampled_from(kinds), st.binary(max_size=100))
@example(messages.Stop, b"\x91" * 100_000)
@example(messages.GetStatsJson, b"\x81\xa4data" + b"\x81\xa1a" * 100_000)
@example(messages.StatsData, b"\x81\xa4data" + b"\x81\xa1a" * 100_000)
@example(messages.Missing, b"\x81\xa6sha256\xdd\xff\xff\xff\xff")
@example(messages.StatsText, b"\x81\xa4text\xdb\xff\xff\xff\xff")
@example(messages.StatsData, b"\xdf\xff\xff\xff\xff")
@example(messages.StatsData, b"\x81\xa4data\x81\x91\x01\x01")
@example(messages.StatsData, b"\x81\xa4data\x81\xa1t\xd6\xff\xff\xff\xff\xff")
@example(messages.StatsData, b"\x81\xa4data\x81\xa1t\xc7\x0c\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")
def test_any_payload_gives_a_message_or_a_protocol_error(kind: type[messages.Message], payload: bytes) -> None:
    try:
        assert isinstance(messages.decode_message(payload, kind), kind)
    except ProtocolError:
        pass
    assert isinstance(read_answer(Frame(Opcode.ERROR, payload, STRUCTURED), kind), TitanError)


# --- classic payloads ---------------------------------------------------------------------------------------------

pieces = st.sampled_from(
    [
        "|", "||", ";", "[", "]", ",", "[]", "[a]", "a", "b", "DAG-a", "RUN_PAYLOAD", "DEPLOY_PAYLOAD", "RUN_ARCHIVE",
        "START_ARCHIVE_SERVICE", "GENERAL", "AFFINITY", "STICKY", "QUJD", "0", "1", "-1", "8080", "99999", "x.py",
        "p.zip/x.py", "'", '"', "\\", " ", "\n", "\0", "..", "/", "true", "COMPLETED", "Worker.jar", "é", "²", "٣",
        "9" * 30,
    ]
)  # fmt: skip
texts = st.one_of(
    st.lists(pieces, max_size=25).map("".join),
    st.lists(pieces, max_size=12).map("|".join),
    st.text(max_size=30),
)
payloads = texts.map(lambda text: text.encode("utf-8", "surrogatepass")) | st.binary(max_size=40)


@settings(EXAMPLES, max_examples=1000)
@given(st.sampled_from([*Opcode, 0x00, 0xFF]), payloads)
def test_any_classic_request_is_understood_or_refused(opcode: int, payload: bytes) -> None:
    for parse in (parse_to_master, parse_to_worker):
        try:
            request = parse(opcode, payload)
        except TitanError:
            continue
        try:
            again = request.format()
        except TitanError:  # such as a Windows path in arguments that now hold a line break
            continue
        assert parse(opcode, again.encode()) == request


@settings(EXAMPLES, max_examples=500)
@given(texts)
def test_any_job_lines_are_understood_or_refused(text: str) -> None:
    for parse in (parse_dag, parse_submission):
        try:
            parse(text)
        except TitanError:
            pass


@EXAMPLES
@given(st.sampled_from(list(Opcode)), st.builds(Frame, opcodes, payloads, st.integers(0, 3), st.integers(0, 255)))
def test_any_classic_reply_is_understood_or_refused(request: Opcode, reply: Frame) -> None:
    try:
        text = reply_text(request, reply)
    except TitanError:
        return
    for parse in (Pong.parse, ServiceStarted.parse, parse_queued):
        try:
            parse(text)
        except TitanError:
            pass


@EXAMPLES
@given(st.binary(max_size=100))
def test_any_log_can_be_sent(log: bytes) -> None:
    log_frame(log).payload.decode("utf-8")


ids = st.from_regex(r"[A-Za-z0-9_.-]{1,20}", fullmatch=True).filter(lambda name: name not in (".", ".."))
file_names = st.from_regex(r"[a-z][a-z0-9_ -]{0,8}(\.py|\.sh|)", fullmatch=True).map(str.strip)
args = st.lists(st.text(st.characters(exclude_characters="|;\r\n\0", exclude_categories=["Cs"])), max_size=3).map(tuple)
requirements = st.lists(st.sampled_from(["GENERAL", "GPU", "x.y"]), min_size=1, max_size=2, unique=True).map(tuple)
ports = st.integers(0, 65535)
entries = st.lists(file_names, min_size=1, max_size=3).map("/".join)
archives = file_names.map(lambda name: name + ".zip")
bodies: st.SearchStrategy[Body] = st.one_of(
    st.builds(RunPayload, file_names, st.binary(max_size=20), args, requirements),
    st.builds(DeployPayload, file_names, st.binary(max_size=20), ports, requirements),
    st.builds(RunArchive, archives, entries, args, requirements),
    st.builds(StartArchiveService, archives, entries, args, ports, requirements),
)
numbers = st.integers(-(10**17), 10**17)


@st.composite
def dags(draw: st.DrawFn) -> list[ClassicJob]:
    names = ["DAG-" + name for name in draw(st.lists(ids, min_size=1, max_size=4, unique=True))]
    delays = st.integers(0, 10**11)
    return [
        ClassicJob(
            name,
            draw(bodies),
            draw(numbers),
            draw(delays),
            tuple(draw(st.lists(st.sampled_from(names[:index]), unique=True))) if index else (),
            draw(st.booleans()),
        )
        for index, name in enumerate(names)
    ]


@EXAMPLES
@given(dags())
def test_a_dag_survives_its_text(jobs: list[ClassicJob]) -> None:
    assert parse_dag(format_dag(jobs)) == jobs


@EXAMPLES
@given(ids | st.just("") | st.just("GPU"), bodies, numbers)
def test_a_submission_survives_its_text(name: str, body: Body, priority: int) -> None:
    job = ClassicJob(name, body, priority, 5)
    assert parse_submission(format_submission(job)) == job
