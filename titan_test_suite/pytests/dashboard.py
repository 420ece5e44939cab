"""Real dashboards for tests: started as a person starts them, on a cluster of the test's."""

from __future__ import annotations

import base64
import json
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPResponse
from typing import Any, Final

import psutil

from titan_test_suite.pytests.cluster import ROOT, Cluster, Program

CODE: Final = "a-login-code-of-the-tests"
PROGRAM: Final = ROOT / "perm_files" / "server_dashboard.py"


class Dashboard:
    """A dashboard of a cluster, and how a program talks to it."""

    def __init__(self, cluster: Cluster, *options: str, port: int = 0) -> None:
        self.cluster = cluster
        argv = [str(PROGRAM), "--port", str(port), "--master", f"127.0.0.1:{cluster.port}", *options]
        self.program: Program = cluster.start("dashboard", argv, TITAN_DASHBOARD_LOGIN=CODE)
        self.port = self.program.wait_ready()
        self.url = f"http://127.0.0.1:{self.port}"

    def ask(
        self,
        path: str,
        body: Any = None,
        *,
        method: str = "",
        headers: dict[str, str] | None = None,
        token: bool = True,
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body; a body that is not bytes is sent as JSON."""
        sent = {"Authorization": f"Bearer {self.cluster.token}"} if token else {}
        data = body
        if body is not None and not isinstance(body, bytes):
            data = json.dumps(body).encode()
            sent["Content-Type"] = "application/json"
        method = method or ("GET" if body is None else "POST")
        request = urllib.request.Request(self.url + path, data, sent | (headers or {}), method=method)
        opener = urllib.request.build_opener(_NoRedirect())
        try:
            with opener.open(request, timeout=20) as answer:
                return answer.status, _headers(answer), answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, _headers(error), error.read()

    def get(self, path: str) -> Any:
        status, _, body = self.ask(f"/api/v1{path}")
        assert status == 200, (status, body)
        return json.loads(body)

    def post(self, path: str, body: Any = None) -> Any:
        status, _, answer = self.ask(f"/api/v1{path}", {} if body is None else body)
        assert status in (200, 201), (status, answer)
        return json.loads(answer)

    def udp_port(self) -> int:
        """Where it receives datagrams."""
        return next(each.laddr.port for each in psutil.Process(self.program.pid).net_connections("udp"))

    def metric(self, name: str) -> float:
        _, _, body = self.ask("/metrics")
        return next(float(line.split()[-1]) for line in body.decode().splitlines() if line.startswith(f"{name} "))

    @contextmanager
    def events(self, *topics: str) -> Iterator[Events]:
        """A stream of events."""
        query = "&".join(f"topic={topic}" for topic in topics)
        headers = {"Authorization": f"Bearer {self.cluster.token}"}
        with urllib.request.urlopen(
            urllib.request.Request(f"{self.url}/events?{query}", None, headers), timeout=30
        ) as it:
            yield Events(it)


class Events:
    """Events as they come."""

    def __init__(self, answer: Any) -> None:
        self._answer = answer

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        name = ""
        for raw in self._answer:
            line = raw.decode().rstrip("\n")
            if line.startswith("event: "):
                name = line.removeprefix("event: ")
            elif line.startswith("data: "):
                yield name, json.loads(line.removeprefix("data: "))

    def next(self, *names: str) -> Any:
        """The data of the next event of one of these names."""
        return next(data for name, data in self if name in names)

    def log(self) -> bytes:
        """A watched log, put together until its end; fails when bytes are missing or come in the wrong order."""
        data = bytearray()
        start = 0
        for name, event in self:
            if name == "logstart" and event["attempt"]:
                data, start = bytearray(), event["offset"]
            elif name == "log":
                assert event["offset"] == start + len(data), "a gap in the stream"
                data += base64.b64decode(event["data"])
            elif name == "logend":
                assert not event["error"] and event["size"] == start + len(data)
                return bytes(data)
        raise AssertionError("the stream ended before the log did")


class LossyRelay:
    """A UDP relay that drops every third datagram, as a bad network would."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.target = target
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self.passed = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="lossy-relay")
        self._thread.start()

    def _run(self) -> None:
        number = 0
        while True:
            packet = self._socket.recv(4096)
            if not packet:
                return
            number += 1
            if number % 3 == 0:
                self.dropped += 1
            else:
                self.passed += 1
                self._socket.sendto(packet, self.target)

    def close(self) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join(5)
        self._socket.close()


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any) -> None:
        return None


def _headers(answer: HTTPResponse | urllib.error.HTTPError) -> dict[str, str]:
    return {name.lower(): value for name, value in answer.headers.items()}
