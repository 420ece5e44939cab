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
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, cast

import yaml

from titan_sdk.errors import ConfigError, InvalidName
from titan_sdk.messages import GENERAL
from titan_sdk.names import check_capability, check_port

CONFIG_NAME: Final = "titan.yaml"
MAX_SLOTS: Final = 256
"""Jobs a worker may run at once; each has a supervisor process, and a bigger machine takes another worker."""

T = TypeVar("T")
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


def _log_level(text: str) -> str:
    levels = ("DEBUG", "INFO", "WARNING", "ERROR")
    if text.upper() not in levels:
        raise ValueError(f"{text!r} is none of {', '.join(levels)}")
    return text.upper()


@dataclass(frozen=True)
class Setting:
    """What is known of one setting beside its value. ``env`` and ``option`` are empty where it cannot be given so."""

    name: str
    env: str
    option: str
    default: str
    help: str
    parse: Parser
    flag: bool


def _setting(default: T | Callable[[], T], parse: Parser, text: str, *, env: str = "", option: bool = True) -> T:
    """A field of a settings class; ``env`` only where the name TITAN_<NAME> belongs to something else."""
    metadata = {"parse": parse, "help": text, "env": env, "option": option}
    if callable(default):
        return cast(T, dataclasses.field(default_factory=default, metadata=metadata))
    return cast(T, dataclasses.field(default=default, metadata=metadata))


def _default_home() -> Path:
    return Path.home() / ".titan"


@dataclass(frozen=True, kw_only=True)
class MasterSettings:
    """Settings of the master. Durations are seconds. ``token`` None: read from, or made in, ``home``/token."""

    host: str = _setting("127.0.0.1", _text, "address to listen on; another than loopback needs --insecure")
    port: int = _setting(9090, _port(zero=True), "port to listen on; 0 takes a free one")
    data_dir: Path = _setting(Path("titan_data"), _path, "folder of the journal, the logs and the content store")
    perm_files: Path = _setting(Path("perm_files"), _path, "folder of the artifact registry")
    home: Path = _setting(_default_home, _path, "folder of the token and of the settings file")
    token: str | None = _setting(
        None, _text, "secret that structured peers must know; by default the file `token` in home", option=False
    )
    insecure: bool = _setting(False, _boolean, "listen on any address without encryption, and trust the network")
    lease_seconds: float = _setting(30.0, _seconds, "a worker that is silent for so long is dead")
    heartbeat_seconds: float = _setting(5.0, _seconds, "how often a worker gives a sign of life")
    grace_seconds: float = _setting(10.0, _seconds, "how long a worker whose link broke has to come back")
    max_workers: int = _setting(5, _integer(1, 10_000), "most workers that scaling up may lead to")
    scale_seconds: float = _setting(15.0, _seconds, "how often load and capacity are compared")
    idle_seconds: float = _setting(45.0, _seconds, "an ephemeral worker that is idle for so long is decommissioned")
    max_connections: int = _setting(
        1024, _integer(8, 100_000), "most connections served at once; each has a thread of its own"
    )
    finished_jobs_in_memory: int = _setting(
        10_000, _integer(0, 10_000_000), "finished jobs kept in memory; older ones are read from the journal"
    )
    drain_seconds: float = _setting(30.0, _seconds, "how long a stopping master waits for what is under way")
    log_level: str = _setting("INFO", _log_level, "DEBUG, INFO, WARNING or ERROR")


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """Settings of a worker. Durations are seconds. ``token`` None: read from ``home``/token."""

    port: int = _setting(
        8080, _port(zero=True), "port to listen on for classic masters; 0 takes a free one", env="TITAN_WORKER_PORT"
    )
    master_host: str = _setting("127.0.0.1", _text, "address of the master", env="TITAN_HOST")
    master_port: int = _setting(9090, _port(zero=False), "port of the master", env="TITAN_PORT")
    capabilities: tuple[str, ...] = _setting((GENERAL,), _capabilities, "what this worker can do, separated by commas")
    permanent: bool = _setting(False, _boolean, "never decommission this worker for being idle, nor on request")
    slots: int = _setting(4, _integer(1, MAX_SLOTS), "jobs that run at once")
    workspace: Path = _setting(Path("titan_workspace"), _path, "folder that jobs run in")
    host: str = _setting(
        "127.0.0.1",
        _text,
        "address to listen on; another than loopback needs --insecure",
        env="TITAN_WORKER_HOST",
    )
    insecure: bool = _setting(False, _boolean, "listen on any address without encryption, and trust the network")
    home: Path = _setting(_default_home, _path, "folder of the token and of the settings file")
    token: str | None = _setting(
        None, _text, "secret that the master wants; by default the file `token` in home", option=False
    )
    preload: tuple[str, ...] = _setting(
        (), _words, "modules that are imported once, before scripts are forked, separated by commas"
    )
    grace_seconds: float = _setting(
        5.0,
        _seconds,
        "how long an ended job's processes have between TERM and KILL",
        env="TITAN_WORKER_GRACE_SECONDS",
    )
    drain_seconds: float = _setting(30.0, _seconds, "how long a stopping worker waits for its running jobs")
    log_level: str = _setting("INFO", _log_level, "DEBUG, INFO, WARNING or ERROR")


S = TypeVar("S", MasterSettings, WorkerSettings)

WORKER_ARGUMENTS: Final = ("port", "master_host", "master_port", "capabilities", "permanent")
"""The worker's arguments by position, in the order of the original."""


def describe(kind: type[MasterSettings] | type[WorkerSettings]) -> list[Setting]:
    """Every setting of a program, in order."""
    settings = []
    for field in dataclasses.fields(kind):
        if field.default is not dataclasses.MISSING:
            value = field.default
        else:
            value = "~/.titan"
        flag = isinstance(value, bool)
        if isinstance(value, tuple):
            value = ",".join(value)
        elif isinstance(value, bool):
            value = str(value).lower()
        elif isinstance(value, float):
            value = f"{value:g}"
        settings.append(
            Setting(
                name=field.name,
                env=field.metadata["env"] or f"TITAN_{field.name.upper()}",
                option=f"--{field.name.replace('_', '-')}" if field.metadata["option"] else "",
                default="" if value is None else str(value),
                help=field.metadata["help"],
                parse=field.metadata["parse"],
                flag=flag,
            )
        )
    return settings


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
    section = "master" if kind is MasterSettings else "worker"
    in_file = _read_file(config, section) if named or config.exists() else {}

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
    for field in dataclasses.fields(kind):
        if isinstance(field.default, Path):
            values.setdefault(field.name, field.default.absolute())
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
        raise ConfigError(f"{path}: cannot be read: {error}") from None
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
