"""Where a client finds the master and the token, and which token files it does not rely on."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from titan_sdk.errors import ConfigError
from titan_sdk.settings import ClientSettings, client_settings, read_token


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "token").write_text("s3cret\n", encoding="ascii")
    (tmp_path / "token").chmod(0o600)
    return tmp_path


def test_the_environment_goes_before_the_token_file_and_the_defaults(home: Path) -> None:
    named = {"TITAN_HOST": "master.lan", "TITAN_PORT": " 9191 ", "TITAN_TOKEN": " given ", "TITAN_HOME": str(home)}
    assert client_settings(named) == ClientSettings("master.lan", 9191, "given", home)
    assert client_settings({"TITAN_HOME": str(home)}) == ClientSettings("127.0.0.1", 9090, "s3cret", home)
    empty = {"TITAN_HOST": "", "TITAN_PORT": "", "TITAN_TOKEN": " ", "TITAN_HOME": str(home)}
    assert client_settings(empty) == ClientSettings("127.0.0.1", 9090, "s3cret", home)


def test_home_is_in_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert client_settings({}) == ClientSettings("127.0.0.1", 9090, "", tmp_path / ".titan")


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "80.0", "9090;"])
def test_a_port_that_is_none(home: Path, port: str) -> None:
    with pytest.raises(ConfigError, match="TITAN_PORT"):
        client_settings({"TITAN_HOME": str(home), "TITAN_PORT": port})


def test_no_token_is_no_error(tmp_path: Path) -> None:
    assert read_token(tmp_path) == ""
    assert read_token(tmp_path / "absent") == ""
    (tmp_path / "file").touch()
    assert read_token(tmp_path / "file") == ""


def test_a_token_that_others_can_read_is_not_used(home: Path) -> None:
    (home / "token").chmod(0o640)
    with pytest.raises(ConfigError, match="chmod 600"):
        read_token(home)


@pytest.mark.parametrize("content", [b"", b"\n", "s3crét".encode(), b"x" * 5000])
def test_a_token_file_without_a_token(home: Path, content: bytes) -> None:
    (home / "token").write_bytes(content)
    with pytest.raises(ConfigError, match="holds no token"):
        read_token(home)


def test_a_token_file_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "token", 0o600)
    with pytest.raises(ConfigError, match="not a regular file"):  # and it does not wait for somebody to write
        read_token(tmp_path)


def test_a_token_file_is_not_followed_elsewhere(home: Path, tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "token").symlink_to(home / "token")
    with pytest.raises(ConfigError, match="cannot read the token file"):
        read_token(tmp_path / "sub")
