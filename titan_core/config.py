"""Settings of the master and the worker, read once at the top of a program and handed down as frozen values.

Each setting is looked for in four places, the later one wins: its default, a YAML file, a TITAN_* environment variable,
the command line. Every value goes through the same parser wherever it was found, and a bad one is refused in one line
that names the place. The file is the one named by ``--config`` or TITAN_CONFIG, else ``titan.yaml`` in the home
folder when there is one; its sections ``master`` and ``worker`` hold each program's own settings, and what both know
(``home``, ``token``, ``log_level`` ...) may also stand at its top. docs/settings.md lists all of them.
"""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import ipaddress
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, NoReturn, TypeVar, get_type_hints
from urllib.parse import urlsplit

import yaml

from titan_sdk.errors import ConfigError, InvalidName
from titan_sdk.messages import GENERAL
from titan_sdk.names import check_capability, check_port
from titan_sdk.sizes import parse_size

CONFIG_NAME: Final = "titan.yaml"
MAX_SLOTS: Final = 256
"""Jobs a worker may run at once; each has a supervisor process, and a bigger machine takes another worker."""

MAX_SECONDS: Final = 10 * 366 * 24 * 3600
"""Ten years; more is a slip, and less than what one wait of a thread takes (threading.TIMEOUT_MAX)."""

Parser = Callable[[str], Any]
"""Turns the text of a setting into its value; raises ValueError or InvalidName saying what is wrong."""


def _text(text: str) -> str:
    if not text.strip():
        raise ValueError("the value is empty")
    return text


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.split(",") if word.strip())


def _capabilities(text: str) -> tuple[str, ...]:
    names = _words(text)
    if not names:
        raise ValueError("the value is empty; capabilities separated by commas are wanted, like GENERAL,GPU")
    return tuple(dict.fromkeys(check_capability(name) for name in names))


def _path(text: str) -> Path:
    return Path(_text(text)).expanduser().absolute()


def _integer(low: int, high: int) -> Parser:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a whole number from {low} to {high}") from None
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range; {low} to {high} is wanted")
        return value

    return parse


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of seconds") from None
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{text} is not a number of seconds above 0")
    if value > MAX_SECONDS:
        raise ValueError(f"{text} seconds are out of range; at most ten years ({MAX_SECONDS}) are wanted")
    return value


def _days(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of days") from None
    if not 0 < value <= 36_525:
        raise ValueError(f"{text} is out of range; more than 0 days and at most a hundred years are wanted")
    return value


def _port(*, zero: bool) -> Parser:
    def parse(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise ValueError(f"{text!r} is not a port number") from None
        return check_port(value, zero=zero)

    return parse


def _boolean(text: str) -> bool:
    word = text.strip().lower()
    if word in ("true", "yes", "on", "1"):
        return True
    if word in ("false", "no", "off", "0"):
        return False
    raise ValueError(f"{text!r} is neither true nor false")


def _http_url(text: str) -> str:
    parts = urlsplit(text.strip())
    if text.strip() and (parts.scheme not in ("http", "https") or not parts.hostname):
        raise ValueError(f"{text!r} is no address like https://host/path")
    return text.strip()


def _cores(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number of cores") from None
    if not 0 <= value <= 4096:
        raise ValueError(f"{text} is out of range; 0 to 4096 cores are wanted")
    return value


def _log_level(text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text.upper() not in levels:
        raise ValueError(f"{text!r} is none of {', '.join(levels)}")
    return text.upper()


@dataclass(frozen=True)
class Says:
    """What a field of a settings class says beside its type: how its text is read, and what it is, for people.

    ``env`` is given only where the name TITAN_<NAME> belongs to something else; ``option`` False keeps a secret off the
    command line, where every user of the machine could read it.
    """

    parse: Parser
    help: str
    env: str = ""
    option: bool = True


@dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its value; ``option`` is empty when it has none."""

    name: str
    env: str
    option: str
    default: str
    help: str
    parse: Parser
    flag: bool


def _default_home() -> Path:
    return Path.home() / ".titan"


_INSECURE: Final = Says(_boolean, "listen on any address without encryption, and trust the network")
_HOME: Final = Says(_path, "folder of the token and of the settings file")
_LOG_LEVEL: Final = Says(_log_level, "DEBUG, INFO, WARNING or ERROR")
_SERVICE_LOG_BYTES: Final = Says(_integer(1024, 1 << 40), "size at which a service's log goes on in a new file")
_SERVICE_LOG_FILES: Final = Says(_integer(2, 1000), "files kept of a service's log, the latest")
_BIND: Final = "address to listen on; another than loopback needs --insecure"


@dataclass(frozen=True, kw_only=True)
class MasterSettings:
    """Settings of the master. Durations are seconds. ``token`` None: read from, or made in, ``home``/token."""

    host: Annotated[str, Says(_text, _BIND)] = "127.0.0.1"
    port: Annotated[int, Says(_port(zero=True), "port to listen on; 0 takes a free one")] = 9090
    data_dir: Annotated[Path, Says(_path, "folder of the journal, the logs and the content store")] = Path("titan_data")
    perm_files: Annotated[Path, Says(_path, "folder of the artifact registry")] = Path("perm_files")
    home: Annotated[Path, _HOME] = field(default_factory=_default_home)
    token: Annotated[
        str | None, Says(_text, "secret that structured peers must know; else the file `token` in home", option=False)
    ] = field(default=None, repr=False)
    insecure: Annotated[bool, _INSECURE] = False
    lease_seconds: Annotated[float, Says(_seconds, "a worker that is silent for so long is dead")] = 30.0
    heartbeat_seconds: Annotated[float, Says(_seconds, "how often a worker gives a sign of life")] = 5.0
    grace_seconds: Annotated[float, Says(_seconds, "how long a worker whose link broke has to come back")] = 10.0
    max_workers: Annotated[int, Says(_integer(1, 10_000), "most workers that scaling up may lead to")] = 5
    scale_seconds: Annotated[float, Says(_seconds, "how often load and capacity are compared")] = 15.0
    scale_busy_percent: Annotated[
        int, Says(_integer(1, 100), "a machine whose processors are busier gets no further worker; 100: any may")
    ] = 100
    idle_seconds: Annotated[
        float, Says(_seconds, "a worker that scaling started and that is idle for so long is ended")
    ] = 45.0
    provisioner_url: Annotated[str, Says(_http_url, "where to POST a request for machines when none has room")] = ""
    provisioner_secret: Annotated[
        str | None, Says(_text, "signs the requests to provisioner_url, by HMAC-SHA256", option=False)
    ] = field(default=None, repr=False)
    max_connections: Annotated[
        int, Says(_integer(8, 100_000), "most connections served at once; each has a thread of its own")
    ] = 1024
    frame_seconds: Annotated[
        float, Says(_seconds, "how long a peer may take for a frame, or be silent before its first one")
    ] = 30.0
    finished_jobs_in_memory: Annotated[
        int, Says(_integer(0, 10_000_000), "finished jobs kept in memory; older ones are read from the journal")
    ] = 10_000
    finished_days_in_memory: Annotated[
        float, Says(_days, "finished jobs leave memory after so many days; the journal keeps them")
    ] = 30.0
    history_days: Annotated[
        float, Says(_days, "finished runs leave the journal, with their logs, after so many days")
    ] = 90.0
    history_jobs: Annotated[
        int, Says(_integer(0, 1_000_000_000), "jobs in the journal; beyond it the oldest finished runs go")
    ] = 1_000_000
    log_days: Annotated[float, Says(_days, "logs of finished runs are removed after so many days")] = 30.0
    content_days: Annotated[
        float, Says(_days, "contents that nothing refers to are removed so many days after their last use, at least 1")
    ] = 7.0
    log_total_bytes: Annotated[
        int, Says(_integer(0, 1 << 60), "logs together; beyond it those of finished runs go, old successes first")
    ] = 50 << 30
    service_log_bytes: Annotated[int, _SERVICE_LOG_BYTES] = 10 << 20
    service_log_files: Annotated[int, _SERVICE_LOG_FILES] = 5
    drain_seconds: Annotated[float, Says(_seconds, "how long a stopping master waits for what is under way")] = 30.0
    log_level: Annotated[str, _LOG_LEVEL] = "INFO"


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Settings of a worker. Durations are seconds. ``token`` None: read from ``home``/token."""

    port: Annotated[
        int, Says(_port(zero=True), "port to listen on for classic masters; 0 takes a free one", "TITAN_WORKER_PORT")
    ] = 8080
    master_host: Annotated[str, Says(_text, "address of the master", "TITAN_HOST")] = "127.0.0.1"
    master_port: Annotated[int, Says(_port(zero=False), "port of the master", "TITAN_PORT")] = 9090
    capabilities: Annotated[tuple[str, ...], Says(_capabilities, "what this worker can do, separated by commas")] = (
        GENERAL,
    )
    permanent: Annotated[
        bool, Says(_boolean, "never decommission this worker, neither for being idle nor on request")
    ] = False
    port_tries: Annotated[int, Says(_integer(1, 1000), "ports tried, from `port` upward, until one is free")] = 1
    cpus: Annotated[float, Says(_cores, "cores to set apart for jobs that ask for some; 0: the machine's")] = 0.0
    memory: Annotated[int, Says(parse_size, "memory to set apart for jobs that ask for some; 0: the machine's")] = 0
    gpus: Annotated[int, Says(_integer(0, 1024), "GPUs to hand out to jobs that ask for some")] = 0
    classic: Annotated[bool, Says(_boolean, "work for an original master, which drives this worker over its port")] = (
        False
    )
    slots: Annotated[int, Says(_integer(1, MAX_SLOTS), "jobs that run at once")] = 4
    workspace: Annotated[Path, Says(_path, "folder that jobs run in")] = Path("titan_workspace")
    host: Annotated[str, Says(_text, _BIND, "TITAN_WORKER_HOST")] = "127.0.0.1"
    insecure: Annotated[bool, _INSECURE] = False
    home: Annotated[Path, _HOME] = field(default_factory=_default_home)
    token: Annotated[
        str | None, Says(_text, "secret that the master wants; else the file `token` in home", option=False)
    ] = field(default=None, repr=False)
    preload: Annotated[
        tuple[str, ...], Says(_words, "modules imported once, before scripts are forked, separated by commas")
    ] = ()
    log_bytes: Annotated[
        int, Says(_integer(1024, 1 << 50), "kept of one attempt's output: all up to this, else its beginning and end")
    ] = 2 << 30
    service_log_bytes: Annotated[int, _SERVICE_LOG_BYTES] = 10 << 20
    service_log_files: Annotated[int, _SERVICE_LOG_FILES] = 5
    sandbox_days: Annotated[float, Says(_days, "folders of ended jobs are removed after so many days")] = 7.0
    sandbox_count: Annotated[
        int, Says(_integer(0, 10_000_000), "folders of ended jobs kept; beyond it the oldest go")
    ] = 10_000
    sandbox_total_bytes: Annotated[
        int, Says(_integer(0, 1 << 60), "folders of ended jobs together; beyond it the oldest go")
    ] = 20 << 30
    cache_bytes: Annotated[
        int, Says(_integer(0, 1 << 60), "contents kept for further jobs; beyond it those unused for longest go")
    ] = 10 << 30
    grace_seconds: Annotated[
        float,
        Says(_seconds, "how long a job's processes have between TERM and KILL", "TITAN_WORKER_GRACE_SECONDS"),
    ] = 5.0
    drain_seconds: Annotated[float, Says(_seconds, "how long a stopping worker waits for its running jobs")] = 30.0
    log_level: Annotated[str, _LOG_LEVEL] = "INFO"


S = TypeVar("S", MasterSettings, WorkerSettings)

WORKER_ARGUMENTS: Final = ("port", "master_host", "master_port", "capabilities", "permanent")
"""The worker's arguments by position, in the order of the original."""


def describe(kind: type[MasterSettings | WorkerSettings]) -> list[Setting]:
    """Every setting of a program, in order."""
    hints = get_type_hints(kind, include_extras=True)
    settings = []
    for each in dataclasses.fields(kind):
        says: Says = hints[each.name].__metadata__[0]
        default = "~/.titan" if each.default is dataclasses.MISSING else each.default
        settings.append(
            Setting(
                name=each.name,
                env=says.env or f"TITAN_{each.name.upper()}",
                option=f"--{each.name.replace('_', '-')}" if says.option else "",
                default=_as_text(default),
                help=says.help,
                parse=says.parse,
                flag=isinstance(default, bool),
            )
        )
    return settings


def _as_text(value: object) -> str:
    """A default as one would write it in a file."""
    if value is None:
        return ""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def load_master(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> MasterSettings:
    """The master's settings from its arguments (without the program's name), the environment and the file.

    Raises:
        ConfigError: a value cannot be used; one line says which and where it was given.
        SystemExit: after ``--help``.
    """
    settings = _load(MasterSettings, "TitanMaster.py", "The master: schedules jobs on workers.", (), argv, environ)
    _check_bind(settings.host, settings.insecure)
    if settings.heartbeat_seconds >= settings.lease_seconds:
        raise ConfigError(
            f"heartbeat_seconds is {settings.heartbeat_seconds:g}; it must be below lease_seconds,"
            f" which is {settings.lease_seconds:g}"
        )
    return settings


def load_worker(argv: Sequence[str], environ: Mapping[str, str] = os.environ) -> WorkerSettings:
    """The worker's settings from its arguments (without the program's name), the environment and the file.

    Raises:
        ConfigError: a value cannot be used; one line says which and where it was given.
        SystemExit: after ``--help``.
    """
    settings = _load(
        WorkerSettings, "TitanWorker.py", "A worker: runs jobs for a master.", WORKER_ARGUMENTS, argv, environ
    )
    _check_bind(settings.host, settings.insecure)
    return settings


def _check_bind(host: str, insecure: bool) -> None:
    """Refuse to listen beyond this machine by accident; connections are not encrypted."""
    if insecure or host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"host is {host}, which other machines may reach, and connections are not encrypted;"
            " add --insecure if the network is trusted"
        )


class _ArgumentParser(argparse.ArgumentParser):
    """An argparse parser that raises what is wrong instead of printing its usage and ending the program."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"command line: {message}")


_SECTIONS: Final[dict[type, str]] = {MasterSettings: "master", WorkerSettings: "worker"}


def _load(
    kind: type[S],
    program: str,
    text: str,
    positions: Sequence[str],
    argv: Sequence[str],
    environ: Mapping[str, str],
) -> S:
    described = describe(kind)
    options = _parse_arguments(described, program, text, positions, argv)
    home = _path(options.get("home") or environ.get("TITAN_HOME") or str(_default_home()))
    named = options.pop("config", None) or environ.get("TITAN_CONFIG")
    config = _path(named) if named else home / CONFIG_NAME
    in_file = _read_file(config, _SECTIONS[kind]) if named or config.exists() else {}

    values: dict[str, Any] = {}
    for setting in described:
        if setting.name in options:
            place, given = f"option --{setting.name.replace('_', '-')}", options[setting.name]
            if setting.name in positions and f"@{setting.name}" in options:
                place = f"argument {positions.index(setting.name) + 1} ({setting.name})"
        elif environ.get(setting.env):
            place, given = f"environment variable {setting.env}", environ[setting.env]
        elif setting.name in in_file:
            place, given = in_file[setting.name]
            if setting.parse is _path and not Path(given).expanduser().is_absolute():
                given = str(config.parent / given)  # a file means the same wherever the program is started
        else:
            continue
        try:
            values[setting.name] = setting.parse(given)
        except (ValueError, InvalidName) as error:
            raise ConfigError(f"{place}: {error}") from None
    for each in dataclasses.fields(kind):
        if isinstance(each.default, Path):
            values.setdefault(each.name, each.default.absolute())
    return kind(**values)


def _parse_arguments(
    described: Iterable[Setting], program: str, text: str, positions: Sequence[str], argv: Sequence[str]
) -> dict[str, str]:
    """What the command line says, as text by setting name; ``@name`` marks one that was given by its position."""
    usage = "".join(f" [{name}]" for name in positions)
    parser = _ArgumentParser(
        prog=program,
        usage=f"{program}{usage} [options]",
        description=text,
        epilog="Every setting can also stand in a file or in the environment: see docs/settings.md.",
        allow_abbrev=False,
        argument_default=argparse.SUPPRESS,
    )
    if positions:
        parser.add_argument("positions", nargs="*", default=[], help=argparse.SUPPRESS)
    parser.add_argument("--config", metavar="FILE", help=f"settings file (default: {CONFIG_NAME} in home)")
    for setting in described:
        if not setting.option:
            continue
        shown = f"{setting.help} [{setting.env}; default {setting.default or 'none'}]".replace("%", "%%")
        if setting.flag:
            parser.add_argument(setting.option, dest=setting.name, action=argparse.BooleanOptionalAction, help=shown)
        else:
            parser.add_argument(setting.option, dest=setting.name, metavar=_metavar(setting), help=shown)
    found = vars(parser.parse_intermixed_args(list(argv)) if positions else parser.parse_args(list(argv)))
    ordered = found.pop("positions", [])
    if len(ordered) > len(positions):
        raise ConfigError(f"command line: {ordered[len(positions)]!r} is one argument too many")
    options = {name: str(value) for name, value in found.items()}
    for name, value in zip(positions, ordered, strict=False):
        if name in options:
            raise ConfigError(f"command line: {name} is given twice, as an argument and as an option")
        options[name] = value
        options[f"@{name}"] = ""
    return options


def _metavar(setting: Setting) -> str:
    if setting.parse is _path:
        return "DIR"
    return {"seconds": "S", "port": "PORT", "host": "HOST"}.get(setting.name.rsplit("_", 1)[-1], "VALUE")


def _read_file(path: Path, section: str) -> dict[str, tuple[str, str]]:
    """What a settings file says for one program: setting name -> (place for messages, text)."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise ConfigError(f"{path}: cannot be read: {reason}") from None
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise ConfigError(f"{path}{line}: not YAML: {' '.join(problem.split())}") from None
    if root is None:
        return {}
    names = {
        "master": {setting.name for setting in describe(MasterSettings)},
        "worker": {setting.name for setting in describe(WorkerSettings)},
    }
    shared = names["master"] & names["worker"] - {"host", "port", "grace_seconds"}
    common: dict[str, tuple[str, str]] = {}
    own: dict[str, tuple[str, str]] = {}
    for key, node in _pairs(root, path, shared | names.keys()):
        if key not in names:
            common[key] = _scalar(node, key, path)
            continue
        found = {name: _scalar(value, name, path) for name, value in _pairs(node, path, names[key])}
        if key == section:
            own = found
    return common | own


def _pairs(node: yaml.Node, path: Path, known: Iterable[str]) -> list[tuple[str, yaml.Node]]:
    """The keys and values of a mapping, every key known and there once."""
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{_place(path, node)}: keys with values are wanted here, like 'port: 9090'")
    known = sorted(known)
    pairs: dict[str, yaml.Node] = {}
    for key_node, value in node.value:
        key = str(key_node.value)
        if key not in known:
            close = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {close[0]!r}?" if close else f"; known here: {', '.join(known)}"
            raise ConfigError(f"{_place(path, key_node)}: {key!r} is not a setting here{hint}")
        if key in pairs:
            raise ConfigError(f"{_place(path, key_node)}: {key} is there twice")
        pairs[key] = value
    return list(pairs.items())


def _scalar(node: yaml.Node, key: str, path: Path) -> tuple[str, str]:
    """One value as (place, text); a list of plain values is joined by commas."""
    place = f"{_place(path, node)}: {key}"
    if isinstance(node, yaml.SequenceNode) and all(isinstance(item, yaml.ScalarNode) for item in node.value):
        return place, ",".join(item.value for item in node.value)
    if not isinstance(node, yaml.ScalarNode):
        raise ConfigError(f"{place}: a plain value is wanted")
    return place, str(node.value)


def _place(path: Path, node: yaml.Node) -> str:
    return f"{path}:{node.start_mark.line + 1}"
