"""The token of structured peers: a file that only this user can read, made at the master's first start."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from typing import Final

from titan_sdk.errors import ConfigError
from titan_sdk.settings import TOKEN_FILE, read_token

_TOKEN_BYTES: Final = 32


def obtain_token(home: Path) -> str:
    """The token in ``home``; it is made when there is none, and masters that start at the same instant agree on one.

    Raises:
        ConfigError: not a file of ours, readable by others, empty, or not to be made.
    """
    try:
        home.mkdir(mode=0o700, parents=True, exist_ok=True)
        token = read_token(home)
        if not token:
            _make(home / TOKEN_FILE)
            token = read_token(home)
    except OSError as error:
        raise ConfigError(f"cannot make the token file {home / TOKEN_FILE}: {error.strerror or error}") from None
    if not token:
        raise ConfigError(f"the token file {home / TOKEN_FILE} was removed while the master started")
    return token


def _make(path: Path) -> None:
    """Put a new token there, whole from the first instant on; somebody else's that came first stays."""
    temporary = path.with_name(f".{TOKEN_FILE}.{os.getpid()}.{secrets.token_hex(4)}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="ascii") as file:
            file.write(secrets.token_urlsafe(_TOKEN_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            pass
    finally:
        os.unlink(temporary)
