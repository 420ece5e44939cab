"""Settings: where they come from, which wins, and what is said when one cannot be used."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from titan_core import config
from titan_core.config import MasterSettings, WorkerSettings, describe, load_master, load_worker
from titan_sdk.errors import ConfigError


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """An environment with nothing in it but an empty home."""
    return {"TITAN_HOME": str(tmp_path)}


def write(home: dict[str, str], text: str) -> Path:
    path = Path(home["TITAN_HOME"]) / "titan.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refusal(load, argv: list[str], environ: dict[str, str]) -> str:
    with pytest.raises(ConfigError) as caught:
        load(argv, environ)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_defaults_are_those_that_were_asked_for(home):
    master = load_master([], home)
    assert (master.host, master.port) == ("127.0.0.1", 9090)
    assert (master.lease_seconds, master.heartbeat_seconds) == (30, 5)
    assert (master.max_workers, master.scale_seconds, master.idle_seconds) == (5, 15, 45)
    assert master.token is None and not master.insecure
    worker = load_worker([], home)
    assert (worker.port, worker.master_host, worker.master_port) == (8080, "127.0.0.1", 9090)
    assert (worker.capabilities, worker.permanent, worker.slots) == (("GENERAL",), False, 4)


def test_relative_folders_are_relative_to_where_the_program_was_started(home, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert load_master([], home).data_dir == tmp_path / "titan_data"
    assert load_master(["--data-dir", "x"], home).data_dir == tmp_path / "x"
    assert load_worker([], home).workspace == tmp_path / "titan_workspace"


def test_each_place_wins_over_the_one_before(home):
    write(home, "master: {port: 1001, lease_seconds: 40, idle_seconds: 60}\n")
    settings = load_master(["--port", "1003"], home | {"TITAN_PORT": "1002", "TITAN_LEASE_SECONDS": "50"})
    assert (settings.port, settings.lease_seconds, settings.idle_seconds) == (1003, 50, 60)


def test_an_empty_variable_is_an_unset_one(home):
    assert load_master([], home | {"TITAN_PORT": ""}).port == 9090


def test_the_file_is_in_the_home_or_where_it_is_said_to_be(home, tmp_path):
    write(home, "port_: 1\n")
    other = tmp_path / "other.yaml"
    other.write_text("master:\n  port: 1234\n", encoding="utf-8")
    assert load_master(["--config", str(other)], home).port == 1234
    assert load_master([], home | {"TITAN_CONFIG": str(other)}).port == 1234
    assert "titan.yaml:1" in refusal(load_master, [], home)
    none = tmp_path / "none.yaml"
    refused = refusal(load_master, ["--config", str(none)], home)
    assert refused == f"{none}: cannot be read: No such file or directory"


def test_one_file_serves_both_programs(home, tmp_path):
    write(
        home,
        "log_level: debug\n"
        "token: s3cret\n"
        "master:\n  port: 7000\n  data_dir: data\n"
        "worker:\n  port: 7001\n  capabilities: [GPU, GENERAL]\n  log_level: error\n",
    )
    master, worker = load_master([], home), load_worker([], home)
    assert (master.port, worker.port) == (7000, 7001)
    assert (master.log_level, worker.log_level) == ("DEBUG", "ERROR")
    assert master.token == worker.token == "s3cret"
    assert worker.capabilities == ("GPU", "GENERAL")
    assert master.data_dir == tmp_path / "data", "a path in a file is relative to the file"


def test_worker_takes_the_arguments_of_the_original_in_their_order(home):
    worker = load_worker(["8081", "192.168.1.50", "9091", "GPU,HIGH_MEM", "true"], home)
    assert (worker.port, worker.master_host, worker.master_port) == (8081, "192.168.1.50", 9091)
    assert (worker.capabilities, worker.permanent) == (("GPU", "HIGH_MEM"), True)


@pytest.mark.parametrize(
    "argv", [["8081", "--slots", "2", "m"], ["--slots", "2", "8081", "m"], ["8081", "m", "--slots=2"]]
)
def test_options_may_stand_anywhere_between_the_arguments(home, argv):
    worker = load_worker(argv, home)
    assert (worker.port, worker.master_host, worker.slots) == (8081, "m", 2)


def test_worker_finds_its_master_by_the_variables_of_every_client(home):
    """A worker started as a job inherits TITAN_PORT, the master's: it must not take that port for its own."""
    worker = load_worker([], home | {"TITAN_HOST": "10.0.0.9", "TITAN_PORT": "9999"})
    assert (worker.master_host, worker.master_port, worker.port) == ("10.0.0.9", 9999, 8080)
    worker = load_worker([], home | {"TITAN_WORKER_PORT": "8085", "TITAN_WORKER_HOST": "127.0.0.2"})
    assert (worker.port, worker.host) == (8085, "127.0.0.2")


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["--port", "x"], "option --port: 'x' is not a port number"),
        (["--port", "70000"], "option --port: port 70000 is out of range"),
        (["--lease-seconds", "-1"], "option --lease-seconds: -1 is not a number of seconds above 0"),
        (["--lease-seconds", "1e12"], "option --lease-seconds: 1e12 seconds are out of range; at most ten years"),
        (["--lease-seconds", "nan"], "option --lease-seconds: nan is not a number of seconds above 0"),
        (["--max-workers", "0"], "option --max-workers: 0 is out of range; 1 to 10000"),
        (["--log-level", "LOUD"], "option --log-level: 'LOUD' is none of DEBUG, INFO"),
        (["--host", ""], "option --host: the value is empty"),
        (["--prot", "1"], "command line: unrecognized arguments: --prot"),
        (["extra"], "command line: unrecognized arguments: extra"),
        (["--port"], "command line: argument --port: expected one argument"),
        (["--token", "s3cret"], "command line: unrecognized arguments: --token"),
        (["--heartbeat-seconds", "31"], "heartbeat_seconds is 31; it must be below lease_seconds"),
    ],
)
def test_a_bad_option_is_refused_in_one_line(home, argv, said):
    assert said in refusal(load_master, argv, home)


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["8081", "m", "0"], "argument 3 (master_port): port 0 is out of range"),
        (["8081", "m", "1", "G|P"], "argument 4 (capabilities): 'G|P' is not a capability"),
        (["8081", "m", "1", "GPU", "perhaps"], "argument 5 (permanent): 'perhaps' is neither true nor false"),
        (["8081", "m", "1", "GPU", "true", "more"], "'more' is one argument too many"),
        (["8081", "--port", "8082"], "port is given twice"),
    ],
)
def test_a_bad_argument_is_named_by_its_place(home, argv, said):
    assert said in refusal(load_worker, argv, home)


def test_a_bad_variable_is_named(home):
    assert refusal(load_master, [], home | {"TITAN_IDLE_SECONDS": "soon"}) == (
        "environment variable TITAN_IDLE_SECONDS: 'soon' is not a number of seconds"
    )


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("master:\n  port: 70000\n", 2, "port: port 70000 is out of range"),
        ("master:\n  prot: 9091\n", 2, "'prot' is not a setting here; did you mean 'port'?"),
        ("wroker:\n  port: 1\n", 1, "did you mean 'worker'?"),
        ("master:\n  port: 1\n  port: 2\n", 3, "port is there twice"),
        ("master:\n\tport: 1\n", 2, "not YAML"),
        ("- a\n", 1, "keys with values are wanted here"),
        ("master: 5\n", 1, "keys with values are wanted here"),
        ("master:\n  host: {a: b}\n", 2, "host: a plain value is wanted"),
        ("master:\n  insecure: maybe\n", 2, "insecure: 'maybe' is neither true nor false"),
        ("port: 9090\n", 1, "'port' is not a setting here"),
    ],
)
def test_what_is_wrong_in_a_file_is_named_with_its_line(home, text, line, said):
    path = write(home, text)
    refused = refusal(load_master, [], home)
    assert refused.startswith(f"{path}:{line}: ")
    assert said in refused


def test_a_mistake_in_the_other_programs_section_is_told_too(home):
    write(home, "worker:\n  slotz: 2\n")
    assert "did you mean 'slots'?" in refusal(load_master, [], home)


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])
@pytest.mark.parametrize("load", [load_master, load_worker])
def test_another_address_than_loopback_needs_insecure(home, load, host):
    assert f"host is {host}" in refusal(load, ["--host", host], home)
    assert load(["--host", host, "--insecure"], home).host == host
    assert load([], home | {"TITAN_INSECURE": "true", "TITAN_HOST": host, "TITAN_WORKER_HOST": host}).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.5", "::1", "localhost"])
def test_loopback_needs_nothing(home, host):
    assert load_master(["--host", host], home).host == host


def test_the_token_does_not_show(home):
    assert "s3cret" not in repr(load_master([], home | {"TITAN_TOKEN": "s3cret"}))


def test_settings_cannot_be_changed(home):
    with pytest.raises(AttributeError):
        setattr(load_master([], home), "port", 1)  # noqa: B010 - a plain assignment does not pass the type checker


@pytest.mark.parametrize(("load", "kind"), [(load_master, MasterSettings), (load_worker, WorkerSettings)])
def test_every_setting_can_be_given_everywhere(home, load, kind):
    """And has the same value, whatever the place: each is given another value than its default, three times over."""
    other: dict[Any, str] = {
        config._path: "/elsewhere",
        config._boolean: "true",
        config._log_level: "ERROR",
        config._text: "localhost",
        config._http_url: "https://example.org/machines",
        config._capabilities: "GPU,TPU",
        config._words: "json,csv",
        config._seconds: "7.5",
    }
    for setting in describe(kind):
        text = other.get(setting.parse, "3333" if setting.name.endswith("log_bytes") else "33")
        wanted = setting.parse(text)
        extra = {"TITAN_LEASE_SECONDS": "100"} if setting.name == "heartbeat_seconds" else {}
        section = "master" if kind is MasterSettings else "worker"
        path = write(home, f"{section}:\n  {setting.name}: {text}\n")
        assert getattr(load([], home | extra | ({"TITAN_HOME": str(path.parent)})), setting.name) == (
            wanted if setting.name != "home" else path.parent
        )
        path.unlink()
        assert getattr(load([], home | extra | {setting.env: text}), setting.name) == wanted
        if setting.flag:
            assert getattr(load([setting.option], home), setting.name) is True
        elif setting.option:
            assert getattr(load([setting.option, text], home | extra), setting.name) == wanted


def test_help_lists_every_option(capsys, home):
    for load, kind in ((load_master, MasterSettings), (load_worker, WorkerSettings)):
        with pytest.raises(SystemExit) as ended:
            load(["--help"], home)
        assert ended.value.code == 0
        shown = capsys.readouterr().out
        for setting in describe(kind):
            assert not setting.option or re.search(rf"{setting.option}[ ,]", shown)
