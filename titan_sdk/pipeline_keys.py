"""The keys of a pipeline file: what each is called, and how its value is read.

``pipeline.schema.json`` says the same to editors.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from titan_sdk.approving import ON_TIMEOUT
from titan_sdk.dag import (
    MAX_CPUS,
    MAX_DELAY_MS,
    MAX_GPUS,
    MAX_PRIORITY,
    MAX_QUESTION_CHARS,
    MAX_QUESTION_S,
    MAX_REPAIRS,
    MAX_RETRIES,
)
from titan_sdk.durations import parse_duration
from titan_sdk.errors import InvalidName, TitanError
from titan_sdk.job import (
    AUTO,
    HANDLERS,
    HEALTH_KEYS,
    KINDS,
    LIFETIMES,
    RESTARTS,
    TRIGGERS,
    split_args,
    split_requirement,
)
from titan_sdk.messages import Recurrence
from titan_sdk.names import check_capability, check_job_id, check_relative_path
from titan_sdk.pipeline_params import Declared
from titan_sdk.sizes import parse_size
from titan_sdk.timetable import recurrence
from titan_sdk.yaml_lines import List, Map, Node, Text

MAX_NAME_BYTES: Final = 256
"""Of a run's name, as the master takes it."""

_INTEGER: Final = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_NUMBER: Final = re.compile(r"[-+]?([0-9]+(\.[0-9]*)?|\.[0-9]+)([eE][-+]?[0-9]+)?")
_MAX_DIGITS: Final = 30
"""More belong to no number that means anything here."""
_TRUE: Final = frozenset({"true", "yes", "on"})


class Bad(TitanError):
    """A value that cannot be used. ``problems``: what is wrong, and in which line."""

    def __init__(self, *problems: tuple[str, int]) -> None:
        super().__init__("; ".join(text for text, _ in problems))
        self.problems = problems


@dataclass(frozen=True)
class Key:
    """A key of the file.

    Attributes:
        field: the name of what it says; two spellings of a key share it. For a job's key an argument of TitanJob.
        read: its value from a node. Raises Bad.
    """

    field: str
    read: Callable[[Node], Any]


def in_words(node: Node) -> str:
    """What a node is, for a message."""
    if isinstance(node, List):
        return "a list"
    if isinstance(node, Map):
        return "a map"
    assert isinstance(node, Text)
    if not node.text:
        return "nothing"
    shown = node.text if len(node.text) <= 60 else f"{node.text[:60]}..."
    return f'the text "{shown}"' if node.kind == "str" else shown


def _scalar(node: Node, wanted: str) -> Text:
    if not isinstance(node, Text):
        raise Bad((f"{wanted} is wanted, not {in_words(node)}", node.line))
    return node


def _text(node: Node, wanted: str = "a text") -> str:
    """A text as it was written, also when YAML would take it for a number, a date or a yes."""
    found = _scalar(node, wanted)
    if found.kind == "null":
        hint = f'; if {found.text} is the text, write "{found.text}"' if found.text else ""
        raise Bad((f"{wanted} is wanted, not {in_words(found)}{hint}", found.line))
    return found.text


def _integer(node: Node) -> int:
    wanted = "a whole number"
    found = _scalar(node, wanted)
    if found.kind != "int" or not _INTEGER.fullmatch(found.text) or len(found.text) > _MAX_DIGITS:
        hint = "; leave the quotes out" if found.kind == "str" and _INTEGER.fullmatch(found.text) else ""
        hint = "; leave the zeros in front out" if re.fullmatch(r"[-+]?0[0-9]+", found.text) else hint
        raise Bad((f"{wanted} is wanted, not {in_words(found)}{hint}", found.line))
    return int(found.text)


def _seconds(node: Node) -> float:
    return _number(node, "a number of seconds")


def _number(node: Node, wanted: str) -> float:
    found = _scalar(node, wanted)
    # YAML 1.1 takes 1e3 for a text, people do not.
    plain = found.kind in ("int", "float") or (found.kind == "str" and re.fullmatch(r"[0-9]+[eE][0-9]+", found.text))
    if not plain or not _NUMBER.fullmatch(found.text) or len(found.text) > _MAX_DIGITS:
        hint = "; leave the quotes out" if found.kind == "str" and _NUMBER.fullmatch(found.text) else ""
        raise Bad((f"{wanted} is wanted, not {in_words(found)}{hint}", found.line))
    return float(found.text)


def _flag(node: Node) -> bool:
    found = _scalar(node, "true or false")
    if found.kind != "bool":
        raise Bad((f"true or false is wanted, not {in_words(found)}", found.line))
    return found.text.lower() in _TRUE


def _checked(check: Callable[[Any], Any], value: Any, node: Node) -> Any:
    try:
        return check(value)
    except InvalidName as error:
        raise Bad((str(error), node.line)) from None


def _each(nodes: Sequence[Node], read: Callable[[Node], Any]) -> list[Any]:
    """All that could be read; Bad with the problems of all that could not."""
    values = []
    problems: list[tuple[str, int]] = []
    for node in nodes:
        try:
            values.append(read(node))
        except Bad as bad:
            problems += bad.problems
    if problems:
        raise Bad(*problems)
    return values


def _job_id(node: Node) -> str:
    found: str = _checked(check_job_id, _text(node, "an id"), node)
    return found


def _parents(node: Node) -> list[tuple[str, int]]:
    """Ids with their lines; one id alone stands for a list of one."""

    def parent(each: Node) -> tuple[str, int]:
        return _job_id(each), each.line

    if isinstance(node, Text):
        if node.kind == "null" and not node.text:
            return []
        return [parent(node)]
    if isinstance(node, Map):
        raise Bad((f"a list of ids is wanted, not {in_words(node)}", node.line))
    assert isinstance(node, List)
    return _each(node.items, parent)


def _file(node: Node) -> str:
    """A path below the pipeline's folder, without detours."""
    path = _text(node, "a file's path")
    if not path:
        raise Bad(("a file's path is wanted, not nothing", node.line))
    if "\\" in path:
        raise Bad((f"{path!r} holds a backslash; folders are parted by /", node.line))
    if path.startswith(("/", "~")):
        raise Bad((f"{path} is not relative to the pipeline's folder", node.line))
    normal = os.path.normpath(path)
    if normal == ".." or normal.startswith("../"):
        raise Bad((f"{path} leads out of the pipeline's folder", node.line))
    if normal == ".":
        raise Bad((f"{path} is the pipeline's folder; a file in it is wanted", node.line))
    _checked(check_relative_path, normal, node)
    return normal


def _args(node: Node) -> list[str]:
    """A list of texts as they were written, or one text that is split as a shell would."""
    if isinstance(node, List):
        return _each(node.items, lambda each: _no_nul(_text(each, "a text"), each))
    if isinstance(node, Map):
        raise Bad((f"a list or a text is wanted, not {in_words(node)}", node.line))
    if isinstance(node, Text) and node.kind == "null" and not node.text:
        return []
    text = _no_nul(_text(node, "a list or a text"), node)
    found: list[str] = _checked(split_args, text, node)
    return found


def _no_nul(text: str, node: Node) -> str:
    if "\0" in text:
        raise Bad((f"{text[:40]!r} holds a NUL, which no argument or variable can", node.line))
    return text


def _env(node: Node) -> dict[str, str]:
    if not isinstance(node, Map):
        raise Bad((f"a map of variables is wanted, not {in_words(node)}", node.line))
    values: dict[str, str] = {}
    problems: list[tuple[str, int]] = []
    for key, value in node.pairs:
        name = key.text
        if not name or "=" in name or "\0" in name:
            problems.append((f"{name!r} cannot name a variable of the environment", key.line))
        elif name in values:
            problems.append((f"the variable {name} is set twice", key.line))
        try:
            values[name] = _no_nul(_text(value), value)
        except Bad as bad:
            hint = '; write "" for an empty one' if isinstance(value, Text) and not value.text else ""
            problems += [(f"{name}: {text}{hint}", line) for text, line in bad.problems]
            values[name] = ""
    if problems:
        raise Bad(*problems)
    return values


def _params(node: Node) -> dict[str, Declared]:
    """A map of parameters to their defaults; one without a value must be given."""
    if not isinstance(node, Map):
        raise Bad((f"a map of parameters and their defaults is wanted, not {in_words(node)}", node.line))
    values: dict[str, Declared] = {}
    problems: list[tuple[str, int]] = []
    for key, value in node.pairs:
        if key.text in values:
            problems.append((f"the parameter {key.text} is there twice", key.line))
        try:
            nothing = isinstance(value, Text) and value.kind == "null"
            values[key.text] = Declared(None if nothing else _no_nul(_text(value), value), key.line)
        except Bad as bad:
            problems += [(f"{key.text}: {text}", line) for text, line in bad.problems]
    if problems:
        raise Bad(*problems)
    return values


def _requirement(node: Node) -> list[str]:
    """One capability, several joined by commas, or a list."""

    def capability(each: Node) -> list[str]:
        names = split_requirement(_text(each, "a capability"))
        return [_checked(check_capability, name, each) for name in names]

    if isinstance(node, Map):
        raise Bad((f"a capability or a list of them is wanted, not {in_words(node)}", node.line))
    if isinstance(node, List):
        return split_requirement([name for names in _each(node.items, capability) for name in names])
    return capability(node)


def _one_of(known: Sequence[str], what: str) -> Callable[[Node], str]:
    def read(node: Node) -> str:
        found = _text(node, f"one of {', '.join(known)}").lower()
        if found not in known:
            close = difflib.get_close_matches(found, known, n=1)
            meant = f"; did you mean {close[0]}?" if close else ""
            raise Bad((f"{in_words(node)} is not {what}; {', '.join(known)} are{meant}", node.line))
        return found

    return read


def _health(node: Node) -> str | dict[str, Any]:
    """A path alone, or a map of HEALTH_KEYS."""
    if not isinstance(node, Map):
        return _text(node, "a path or a map")
    readers: dict[str, Callable[[Node], Any]] = {"path": _text, "log": _text, "failures": _integer}
    return _map_of(node, {name: readers.get(name, _seconds) for name in HEALTH_KEYS})


def _approve(node: Node) -> str | dict[str, Any]:
    """A question alone, or a map of APPROVE_KEYS."""
    if not isinstance(node, Map):
        return _question(node)
    readers = {"message": _question, "timeout": _duration, "on_timeout": _one_of(ON_TIMEOUT, "an answer")}
    values: dict[str, Any] = _map_of(node, readers)
    if "message" not in values:
        raise Bad(("it has no message: what is asked", node.line))
    if "on_timeout" in values and "timeout" not in values:
        raise Bad(("on_timeout needs a timeout", node.line))
    return values


def _on_failure(node: Node) -> dict[str, Any] | list[tuple[str, int]]:
    """A map of REPAIR_KEYS, or ids with their lines: the jobs that run when this one has failed."""
    if not isinstance(node, Map):
        return _parents(node)
    readers: dict[str, Callable[[Node], Any]] = {
        "repair": _file,
        "max": _between(1, MAX_REPAIRS),
        "args": _args,
        "timeout": _duration,
        "approve": _approve,
    }
    values = _map_of(node, readers)
    if "repair" not in values:
        raise Bad(("it has no repair: the script that does", node.line))
    return values


def _question(node: Node) -> str:
    text = _text(node, "a question")
    if not text.strip() or len(text) > MAX_QUESTION_CHARS:
        raise Bad((f"a question of 1 to {MAX_QUESTION_CHARS} characters is wanted", node.line))
    return text


def _duration(node: Node) -> float:
    text = _text(node, "a length of time")
    seconds: float = _checked(parse_duration, text, node)
    if seconds > MAX_QUESTION_S:
        raise Bad((f"{text} is out of range; {MAX_QUESTION_S / 86400:g} days at most", node.line))
    return seconds


def _map_of(node: Map, readers: Mapping[str, Callable[[Node], Any]]) -> dict[str, Any]:
    """A map with these keys, none of them twice. Raises Bad with all that is wrong."""
    values: dict[str, Any] = {}
    problems: list[tuple[str, int]] = []
    for key, value in node.pairs:
        try:
            if key.text not in readers:
                raise Bad((f"unknown key; the keys here are {', '.join(readers)}", key.line))
            if key.text in values:
                raise Bad(("it is there twice", key.line))
            values[key.text] = readers[key.text](value)
        except Bad as bad:
            problems += [(f"{key.text}: {text}", line) for text, line in bad.problems]
    if problems:
        raise Bad(*problems)
    return values


def _when(node: Node) -> str:
    """Read as an expression once the job's parents are known."""
    return _text(node, "an expression")


def _port(node: Node) -> int | str:
    if isinstance(node, Text) and node.text.lower() == AUTO:
        return AUTO
    return _between(1, 65535)(node)


def _between(low: int, high: int) -> Callable[[Node], int]:
    def read(node: Node) -> int:
        value = _integer(node)
        if not low <= value <= high:
            raise Bad((f"{value} is out of range; {low} to {high} is wanted", node.line))
        return value

    return read


def _delay(node: Node) -> float:
    value = _seconds(node)
    if not 0 <= value * 1000 <= MAX_DELAY_MS:
        raise Bad((f"{value:g} s is out of range; 0 to {MAX_DELAY_MS // 1000} is wanted", node.line))
    return value


def _timeout(node: Node) -> float:
    value = _seconds(node)
    if not 0 < value < float("inf"):
        raise Bad((f"{value:g} s is not above 0; leave timeout out for none", node.line))
    return value


def _cpus(node: Node) -> float:
    value = _number(node, "a number of cores")
    if not 0 <= value <= MAX_CPUS:
        raise Bad((f"{value:g} is out of range; 0 to {MAX_CPUS} is wanted", node.line))
    return value


def _memory(node: Node) -> int:
    text = _text(node, "an amount of memory")
    found: int = _checked(parse_size, text, node)
    return found


def _python(node: Node) -> str:
    found = _no_nul(_text(node, "an interpreter"), node)
    if not found:
        raise Bad(("an interpreter is wanted, not nothing", node.line))
    return found


def check_run_name(name: str) -> str:
    """The name itself when it can be a run's.

    Raises:
        InvalidName: blank, longer than MAX_NAME_BYTES in UTF-8, or with what cannot be printed.
    """
    if not name.strip() or not name.isprintable() or len(name.encode("utf-8", "surrogatepass")) > MAX_NAME_BYTES:
        shown = name if len(name) <= 60 else f"{name[:60]}..."
        raise InvalidName(f"{shown!r} cannot be a run's name: {MAX_NAME_BYTES} bytes at most, all of them printable")
    return name


def _name(node: Node) -> str:
    found: str = _checked(check_run_name, _text(node), node)
    return found


SCHEDULE_KEYS: Final = (
    "cron", "every", "timezone", "misfire", "misfire_window", "overlap", "jitter", "start", "end"
)  # fmt: skip
"""In a ``schedule`` that is a map; they are the arguments of timetable.recurrence."""


def _schedule(node: Node) -> Recurrence:
    """A cron expression alone, or a map of SCHEDULE_KEYS."""
    if not isinstance(node, Map):
        return _recurrence({"cron": _text(node, "a cron expression or a map")}, node.line)
    values: dict[str, str] = {}
    problems: list[tuple[str, int]] = []
    for key, value in node.pairs:
        try:
            if key.text not in SCHEDULE_KEYS:
                close = difflib.get_close_matches(key.text.lower(), SCHEDULE_KEYS, n=1)
                meant = f"did you mean {close[0]}?" if close else f"the keys here are {', '.join(SCHEDULE_KEYS)}"
                raise Bad((f"unknown key; {meant}", key.line))
            if key.text in values:
                raise Bad(("it is there twice", key.line))
            values[key.text] = (
                _duration_text(value) if key.text in ("every", "jitter", "misfire_window") else _text(value)
            )
        except Bad as bad:
            problems += [(f"{key.text}: {text}", line) for text, line in bad.problems]
    if problems:
        raise Bad(*problems)
    return _recurrence(values, node.line)


def _every(node: Node) -> Recurrence:
    return _recurrence({"every": _duration_text(node)}, node.line)


def _duration_text(node: Node) -> str:
    """As it was written; a number alone means seconds."""
    found = _text(node, "a duration like 15m")
    return f"{found}s" if re.fullmatch(r"[0-9]+(\.[0-9]+)?", found) else found


def _recurrence(values: dict[str, str], line: int) -> Recurrence:
    try:
        return recurrence(**values)
    except InvalidName as error:
        raise Bad((str(error), line)) from None


def _as_it_is(node: Node) -> Node:
    return node


_FILE: Final = Key("file", _file)
_PARENTS: Final = Key("parents", _parents)

PIPELINE_KEYS: Final = {
    "name": Key("name", _name),
    "project": Key("project", _flag),
    "fail_fast": Key("fail_fast", _flag),
    "params": Key("params", _params),
    "schedule": Key("schedule", _schedule),
    "every": Key("every", _every),
    "jobs": Key("jobs", _as_it_is),
    **{handler: Key(handler, _as_it_is) for handler in HANDLERS},
}

JOB_KEYS: Final = {
    "id": Key("id", _job_id),
    "type": Key("kind", _one_of(KINDS, "a type of job")),
    "file": _FILE,
    "script": _FILE,
    "args": Key("args", _args),
    "depends_on": _PARENTS,
    "dependencies": _PARENTS,
    "trigger": Key("trigger", _one_of(TRIGGERS, "a trigger rule")),
    "when": Key("when", _when),
    "each": Key("each", _when),
    "handler": Key("handler", _one_of(HANDLERS, "a handler")),
    "requirement": Key("requirement", _requirement),
    "priority": Key("priority", _between(-MAX_PRIORITY, MAX_PRIORITY)),
    "delay": Key("delay", _delay),
    "affinity": Key("affinity", _flag),
    "retries": Key("retries", _between(0, MAX_RETRIES)),
    "timeout": Key("timeout", _timeout),
    "port": Key("port", _port),
    "restart": Key("restart", _one_of(RESTARTS, "a restart policy")),
    "health": Key("health", _health),
    "approve": Key("approve", _approve),
    "on_failure": Key("on_failure", _on_failure),
    "lifetime": Key("lifetime", _one_of(LIFETIMES, "a lifetime")),
    "env": Key("env", _env),
    "python": Key("python", _python),
    "fresh": Key("fresh", _flag),
    "cpus": Key("cpus", _cpus),
    "memory": Key("memory", _memory),
    "gpus": Key("gpus", _between(0, MAX_GPUS)),
}

_MEANT: Final = {
    "job_id": "id", "name": "id", "filename": "file", "path": "file", "command": "file", "entrypoint": "file",
    "parents": "depends_on", "needs": "depends_on", "requires": "requirement", "requirements": "requirement",
    "capability": "requirement", "capabilities": "requirement", "arguments": "args", "argv": "args", "kind": "type",
    "environment": "env", "retry": "retries", "max_retries": "retries", "interpreter": "python", "tasks": "jobs",
    "cpu": "cpus", "cores": "cpus", "mem": "memory", "ram": "memory", "gpu": "gpus",
    "steps": "jobs", "pipeline": "name", "title": "name", "restart_policy": "restart", "healthcheck": "health",
    "repair": "on_failure", "heal": "on_failure",
    "approval": "approve", "gate": "approve", "health_check": "health", "health_path": "health",
    "trigger_rule": "trigger", "if": "when", "condition": "when", "foreach": "each",
    "for_each": "each", "with_items": "each", "matrix": "each",
}  # fmt: skip
"""What other tools, or TitanJob, call a key."""


def misspelt(word: str, keys: Mapping[str, Key]) -> str:
    """``; did you mean x?`` for a word that is no key but is like one, else the list of keys."""
    plain = re.sub(r"[- ]", "_", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", word[:60])).lower()
    meant = plain if plain in keys else _MEANT.get(plain, "")
    if meant not in keys:
        meant = next(iter(difflib.get_close_matches(plain, keys, n=1, cutoff=0.6)), "")
    return f"; did you mean {meant}?" if meant else f"; the keys here are {', '.join(keys)}"
