"""What a command works with: the master at the other end, and the person or script at this one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec
from rich.console import Console

from titan_sdk.connection import RpcClient, classic_call
from titan_sdk.errors import ConnectFailed, ConnectionLost, RemoteError, TitanError
from titan_sdk.messages import Message, Request
from titan_sdk.protocol import Frame, Opcode

if TYPE_CHECKING:
    from titan_sdk.client import TitanClient

M = TypeVar("M", bound=Message)

PLAIN_WIDTH = 160
"""Columns of a table that goes to a file or a pipe, where nothing says how wide it may be."""


class MasterAway(TitanError):
    """Nobody answers where the master should be."""


class Session:
    """One operator's connection and output. Connects when first needed, and again after a break.

    Args:
        as_json: print one JSON value for each command instead of text for people.
    """

    def __init__(self, host: str, port: int, home: Path, *, as_json: bool = False) -> None:
        self.host = host
        self.port = port
        self.home = home
        self.as_json = as_json
        self.interactive = False
        self.console = Console(
            markup=False, highlight=False, emoji=False, width=None if sys.stdout.isatty() else PLAIN_WIDTH
        )
        self._rpc = RpcClient(host, port)
        self._client: TitanClient | None = None

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def client(self) -> TitanClient:
        """The SDK's client of the same master, for what takes more than one request."""
        if self._client is None:
            from titan_sdk.client import TitanClient  # few commands need it, and it takes time to load

            self._client = TitanClient(host=self.host, port=self.port)
        return self._client

    def call(self, request: Request[M], timeout: float = 30.0) -> M:
        """Ask the master.

        Raises:
            ConnectFailed: it cannot be reached; ``away`` tells a person what to do.
            Other TitanErrors: it said no, or did not answer.
        """
        return self._rpc.call(request, timeout)

    def classic(self, opcode: Opcode, payload: str) -> str:
        """Ask the master in the classic dialect, which has requests of its own; the text of its answer.

        Raises:
            ConnectFailed: it cannot be reached. RemoteError: it answered with an error.
        """
        frame: Frame = classic_call(self.host, self.port, opcode, payload, 30.0)
        text = frame.payload.decode("utf-8", "replace")
        if frame.opcode == Opcode.ERROR or text.startswith("ERROR"):
            raise RemoteError(text.removeprefix("ERROR").lstrip(": "))
        return text

    def connected(self) -> bool:
        """Whether the master answers now."""
        try:
            self._rpc.connect()
        except (ConnectFailed, ConnectionLost):
            return False
        return True

    @contextmanager
    def json_output(self, wanted: bool) -> Iterator[None]:
        """Print JSON, or text, for the time of a ``with`` block."""
        before, self.as_json = self.as_json, wanted
        try:
            yield
        finally:
            self.as_json = before

    def show(self, value: object, *renderables: Any) -> None:
        """Print the result of a command: ``value`` for scripts, or ``renderables`` for people."""
        if self.as_json:
            sys.stdout.write(json.dumps(plain(value), ensure_ascii=False) + "\n")
        else:
            for each in renderables:
                self.console.print(each, soft_wrap=isinstance(each, str))
        sys.stdout.flush()

    def close(self) -> None:
        self._rpc.close()
        if self._client is not None:
            self._client.close()

    def away(self, error: ConnectFailed) -> MasterAway:
        """What to say of a master that could not be reached."""
        return MasterAway(
            f"no master at {self.address} ({error}); start one: python titan_core/TitanMaster.py, or ./titan-dev up"
        )


def plain(value: object) -> Any:
    """A value as JSON can say it, with every field of a message, the ones that have their default too."""
    if isinstance(value, msgspec.Struct):
        return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
    if isinstance(value, dict):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value
