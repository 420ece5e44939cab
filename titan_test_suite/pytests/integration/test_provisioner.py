"""Machines are asked for over HTTP when no machine of the cluster can help; the other end is a real server."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from titan_core.scheduling.core.commands import RequestMachines
from titan_core.scheduling.core.events import MachinesAskedFor
from titan_core.scheduling.provisioner import Provisioner, signature
from titan_sdk.messages import ListEvents
from titan_test_suite.pytests.cluster import Cluster, wait_until

SECRET = "shared secret"


class Receiver(HTTPServer):
    """Takes requests whose signature is right; answers with the next of ``codes``, then with 204."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.codes: list[int] = []
        self.received: list[dict[str, Any]] = []
        self.refused = 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self.thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/machines"

    def close(self) -> None:
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        stamp = self.headers["X-Titan-Timestamp"]
        good = self.headers["X-Titan-Signature"] == f"sha256={signature(SECRET.encode(), stamp, body)}"
        code = self.server.codes.pop(0) if self.server.codes else 204
        if not good or abs(time.time() - int(stamp)) > 60:
            self.server.refused += 1
            code = 403
        else:
            self.server.received.append({"path": self.path, "answered": code, **json.loads(body)})
        self.send_response(code)
        if code == 302:
            self.send_header("Location", "/elsewhere")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    receiver = Receiver()
    yield receiver
    receiver.close()


def deliver(url: str, secret: str = SECRET) -> MachinesAskedFor:
    """What the core is told of one request."""
    told: list[MachinesAskedFor] = []
    provisioner = Provisioner(url, secret, told.append)
    provisioner.start()
    provisioner.request(RequestMachines(("GPU", "HIGH_MEM"), 3, "no worker offers it"))
    wait_until(lambda: told, 20.0, "it was told")
    provisioner.stop()
    assert provisioner.join(time.monotonic() + 5)
    return told[0]


def test_a_request_is_signed_and_says_what_is_wanted(receiver: Receiver):
    assert deliver(receiver.url) == MachinesAskedFor(("GPU", "HIGH_MEM"), 3, "")
    (request,) = receiver.received
    assert request["path"] == "/machines" and request["capabilities"] == ["GPU", "HIGH_MEM"]
    assert (request["count"], request["reason"]) == (3, "no worker offers it")


def test_what_may_pass_is_tried_again_under_the_same_id(receiver: Receiver):
    receiver.codes = [503, 429]
    assert not deliver(receiver.url).problem
    assert [each["answered"] for each in receiver.received] == [503, 429, 204]
    assert len({each["id"] for each in receiver.received}) == 1


@pytest.mark.parametrize(("codes", "problem"), [([400], "400"), ([302], "302")])
def test_what_will_not_pass_is_not_tried_again(receiver: Receiver, codes: list[int], problem: str):
    receiver.codes = codes
    assert problem in deliver(receiver.url).problem
    assert len(receiver.received) == 1


def test_another_secret_is_refused(receiver: Receiver):
    assert "403" in deliver(receiver.url, "another").problem
    assert (receiver.refused, receiver.received) == (1, [])


def test_a_stop_does_not_wait_for_the_next_try():
    told: list[MachinesAskedFor] = []
    provisioner = Provisioner("http://127.0.0.1:1/", SECRET, told.append)
    provisioner.start()
    provisioner.request(RequestMachines(("GPU",), 1, ""))
    provisioner.stop()
    assert provisioner.join(time.monotonic() + 5)


def test_a_job_that_no_machine_can_run_brings_one(cluster: Cluster, receiver: Receiver):
    cluster.start_master(
        *("--scale-seconds", "0.3", "--provisioner-url", receiver.url), TITAN_PROVISIONER_SECRET=SECRET
    )
    cluster.start_worker()
    key = cluster.run("print('at last')", id="train", requirement=("GPU",))
    wait_until(lambda: receiver.received, 20.0, "a machine is asked for")
    assert receiver.received[0]["capabilities"] == ["GPU"] and receiver.received[0]["count"] == 1
    cluster.start_worker(name="provisioned", capabilities="GPU")
    assert cluster.wait_state(key).state == "COMPLETED"
    kinds = [event.kind for event in cluster.client.call(ListEvents()).events]
    assert kinds.count("machines-wanted") == kinds.count("machines-asked") == 1
