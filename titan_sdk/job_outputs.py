"""Outputs of jobs: small JSON values by name that a job leaves for those that depend on it.

A job appends lines to the file that ``TITAN_OUTPUT`` names, in any of these forms; a later line goes before an earlier:

    name=text               the rest of the line as it is
    name:=[1, "two"]        a JSON value
    name<<END               a text of several lines, up to one that is END alone
    {"name": 1}             a JSON object of names and values, as ``titan_sdk.output`` writes it

The one exception is ARTIFACTS, whose lines each add to it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from titan_sdk.errors import BadMessage

MAX_OUTPUT_BYTES: Final = 256 * 1024
"""Of the outputs of one job as JSON, and of the lines they are written as: they stay in the master's memory."""
MAX_DEPTH: Final = 100
"""Of lists and objects in one another. Whoever reads them has a stack of its own depth, and all are to be able to."""
MAX_RUN_OUTPUT_BYTES: Final = 4 * 1024 * 1024
"""Of all jobs of a run together, so that a job which depends on all of them can be told of all in one frame."""
MAX_VARIABLE_BYTES: Final = 32 * 1024
"""Of one value in the environment: a quarter of what Linux gives one variable."""
MAX_VARIABLES_BYTES: Final = 128 * 1024
"""Of all values in the environment. What is beyond stands in the file alone that TITAN_INPUTS names."""

ARTIFACTS: Final = "titan_artifacts"
"""The output that names the job's artifacts. Each is added by a line of its own: a job may publish many, and several
processes of it at once."""

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_LINE: Final = re.compile(r"([A-Za-z_][A-Za-z0-9_]{0,63})(:=|<<|=)(.*)", re.DOTALL)


def parse(text: bytes) -> bytes:
    """What the lines of a file of outputs say, as one JSON object; empty when they say nothing.

    Raises:
        BadMessage: a line that says nothing of the kind, by its number; or the whole is over MAX_OUTPUT_BYTES.
    """
    if len(text) > MAX_OUTPUT_BYTES:
        raise BadMessage(f"they are over the limit of {MAX_OUTPUT_BYTES} bytes; put what is large into a file")
    values: dict[str, Any] = {}
    try:
        lines = iter(enumerate(text.decode().split("\n"), 1))
    except UnicodeDecodeError as error:
        raise BadMessage(f"they are not UTF-8: {error}") from None
    for number, line in lines:
        if line.strip():
            found = _read(line.removesuffix("\r"), number, lines)
            before, more = values.get(ARTIFACTS), found.get(ARTIFACTS)
            if isinstance(before, dict) and isinstance(more, dict):
                found[ARTIFACTS] = before | more
            values |= found
    return encode(values) if values else b""


def _read(line: str, number: int, more: Iterator[tuple[int, str]]) -> dict[str, Any]:
    if line.startswith("{"):
        found = _json(line, number)
        for name in found:
            check_name(name)
        return dict(found)
    match = _LINE.fullmatch(line)
    if match is None:
        raise BadMessage(f"line {number} is {line[:60]!r}; name=text, name:=JSON or name<<END is wanted")
    name, kind, rest = match.groups()
    if kind == "=":
        return {name: rest}
    if kind == ":=":
        return {name: _json(rest, number)}
    if not rest.strip():
        raise BadMessage(f"line {number}: after {name}<< the word is wanted that ends the text")
    found = []
    for _, each in more:
        if each.strip() == rest.strip():
            return {name: "\n".join(found)}
        found.append(each)
    raise BadMessage(f"line {number}: the text of {name} is not ended by a line {rest.strip()}")


def _json(text: str, number: int) -> Any:
    try:
        found = msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadMessage(f"line {number} is no JSON: {error}") from None
    if text.count("[") + text.count("{") > MAX_DEPTH and not is_shallow(found):
        raise BadMessage(f"line {number} holds lists or objects that are over {MAX_DEPTH} deep in one another")
    return found


def is_shallow(value: Any) -> bool:
    """Whether its lists and objects are at most MAX_DEPTH deep in one another."""
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [each for each in level if isinstance(each, (list, dict))]
        if not level:
            return True
        level = [inner for each in level for inner in (each.values() if isinstance(each, dict) else each)]
    return False


def check_name(name: str) -> str:
    """The name itself when it may name an output: letters, digits and ``_``, no digit first, 64 characters at most.

    Raises:
        BadMessage: anything else.
    """
    if not _NAME.fullmatch(name):
        raise BadMessage(f"{name[:80]!r} is not an output's name; letters, digits and _ are wanted, as in rows_2")
    return name


def encode(values: Mapping[str, Any]) -> bytes:
    """The values as one JSON object. Raises BadMessage when that is over MAX_OUTPUT_BYTES."""
    body = msgspec.json.encode(values)
    if len(body) > MAX_OUTPUT_BYTES:
        raise BadMessage(f"they are {len(body)} bytes as JSON, over the limit of {MAX_OUTPUT_BYTES}")
    return body


def decode(body: bytes) -> dict[str, Any]:
    """The values of a JSON object, be they those of many instances; none for no bytes at all. Raises BadMessage."""
    if not body:
        return {}
    try:
        values: dict[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadMessage(f"these outputs are no JSON object: {error}") from None
    for name in values:
        check_name(name)
    return values


def check(body: bytes) -> None:
    """Whether a job may leave these, as ``parse`` gives them. Raises BadMessage when it may not."""
    if len(body) > MAX_OUTPUT_BYTES:
        raise BadMessage(f"outputs of {len(body)} bytes are over the limit of {MAX_OUTPUT_BYTES}")
    values = decode(body)
    if body.count(b"[") + body.count(b"{") > MAX_DEPTH and not all(map(is_shallow, values.values())):
        raise BadMessage(f"these outputs hold lists or objects that are over {MAX_DEPTH} deep in one another")


def variables(inputs: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Outputs of parents by their ids, as variables of the environment: ``TITAN_OUTPUT_PARENT_NAME``.

    Texts are as they are, everything else is JSON. What is too large for the environment is left out.
    """
    found: dict[str, str] = {}
    left = MAX_VARIABLES_BYTES
    for parent, values in inputs.items():
        for name, value in values.items():
            text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
            size = len(text.encode("utf-8", "surrogatepass"))
            if size <= min(MAX_VARIABLE_BYTES, left) and "\0" not in text:
                left -= size
                found[f"TITAN_OUTPUT_{_word(parent)}_{_word(name)}"] = text
    return found


def _word(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "_", name).upper()
