"""The dashboard's one way to the master."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from typing import Any, Final, TypeVar

from dashboard.options import Options
from titan_sdk.client import TitanClient
from titan_sdk.connection import RpcClient
from titan_sdk.errors import TitanError
from titan_sdk.messages import Message, Request, RunInfo, WatchRun, Welcome

CALL_S: Final = 10.0
"""For one answer, with a person waiting for it."""

A = TypeVar("A", bound=Message)


class Gateway:
    """Requests of all threads, pipelined on one connection; uploads and submissions go by a client of their own."""

    def __init__(self, options: Options) -> None:
        self._options = options
        token = options.token or None
        self.host, self.port = options.master_host, options.master_port
        self._rpc = RpcClient(self.host, self.port, token=token, timeout=CALL_S)
        self._lock = threading.Lock()
        self._client: TitanClient | None = None

    def call(self, request: Request[A], timeout: float = CALL_S) -> A:
        """Raises TransportError, RemoteError, ConfigError."""
        return self._rpc.call(request, timeout)

    def send(self, request: Request[A], on_answer: Callable[[A | TitanError], None]) -> None:
        """As RpcClient.send; raises when there is no connection."""
        self._rpc.send(request, on_answer)

    @property
    def welcome(self) -> Welcome | None:
        return self._rpc.welcome

    def run(self, run_id: str, limit: int | None = None) -> RunInfo:
        """A run with all its jobs, or as many as come with ``limit`` of them."""
        info = self.call(WatchRun(id=run_id))
        while len(info.jobs) < (info.total if limit is None else min(limit, info.total)):
            more = self.call(WatchRun(id=info.run_id, first=len(info.jobs)))
            if not more.jobs:
                break
            info.jobs += more.jobs
        return info

    def client(self) -> TitanClient:
        """For uploads and submissions."""
        with self._lock:
            if self._client is None:
                token: dict[str, Any] = {"token": self._options.token} if self._options.token else {}
                self._client = TitanClient(self.host, self.port, **token)
            return self._client

    def local_address(self) -> str:
        """The address of this machine that the master's machine can reach."""
        try:
            family, _, _, _, address = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)[0]
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect(address)  # nothing is sent
                return str(probe.getsockname()[0])
        except OSError:
            return "127.0.0.1"

    def close(self) -> None:
        self._rpc.close()
        with self._lock:
            if self._client is not None:
                self._client.close()
