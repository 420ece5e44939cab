"""Where a client finds the master and its token: the environment, then files in TITAN_HOME, then the defaults."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from titan_sdk.errors import ConfigError, InvalidName
from titan_sdk.names import check_port

DEFAULT_HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 9090
DEFAULT_HOME: Final = "~/.titan"
TOKEN_FILE: Final = "token"
_MAX_TOKEN_BYTES: Final = 4096


@dataclass(frozen=True)
class ClientSettings:
    """What a client needs to reach the master.

    ``token`` is empty when there is none on this machine; ``token_source`` says where it was looked for, for people.
    """

    host: str
    port: int
    token: str
    home: Path
    token_source: str = field(default="", compare=False)


def client_settings(environ: Mapping[str, str] | None = None) -> ClientSettings:
    """The settings from TITAN_HOST, TITAN_PORT, TITAN_HOME and TITAN_TOKEN, or the token file in TITAN_HOME.

    Raises:
        ConfigError: a port that is none, or a token file that cannot be relied on; the text says which and why.
    """
    environ = os.environ if environ is None else environ
    home = Path(environ.get("TITAN_HOME") or DEFAULT_HOME).expanduser()
    token, source = environ.get("TITAN_TOKEN", "").strip(), "it was taken from TITAN_TOKEN"
    if not token:
        token = read_token(home)
        path = home / TOKEN_FILE
        source = (
            f"it was read from {path}" if token else f"there is none: TITAN_TOKEN is not set, and there is no {path}"
        )
    port = _port(environ.get("TITAN_PORT", ""))
    return ClientSettings(environ.get("TITAN_HOST") or DEFAULT_HOST, port, token, home, source)


def read_token(home: Path) -> str:
    """The token in ``home``, or an empty text when there is no token file.

    Raises:
        ConfigError: it is not a regular file of this user that nobody else can read, or it holds no token.
    """
    path = home / TOKEN_FILE
    try:
        # Unlike a file object, a bare descriptor can be looked at whatever it is, a folder too.
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise ConfigError(f"{path} is not a regular file")
            if status.st_uid != os.geteuid():
                raise ConfigError(f"{path} belongs to another user; a token file must be your own")
            if status.st_mode & 0o077:
                raise ConfigError(f"{path} can be read by others; `chmod 600 {path}` if its token is still a secret")
            text = os.read(fd, _MAX_TOKEN_BYTES + 1)
        finally:
            os.close(fd)
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except OSError as error:
        raise ConfigError(f"cannot read the token file {path}: {error.strerror or error}") from None
    try:
        token = text.decode("ascii").strip()
    except UnicodeDecodeError:
        token = ""
    if not token or len(text) > _MAX_TOKEN_BYTES:
        raise ConfigError(f"{path} holds no token")
    return token


def _port(text: str) -> int:
    if not text.strip():
        return DEFAULT_PORT
    try:
        return check_port(int(text), "TITAN_PORT")
    except (ValueError, InvalidName):
        raise ConfigError(f"TITAN_PORT: {text!r} is not a port; 1 to 65535 is wanted") from None
