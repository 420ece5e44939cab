"""Black box: a service is waited for until it is ready, restarted when it ends, and stopped when asked to."""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[2] / "titan_sdk")
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml"))

import time
import urllib.error
import urllib.request

from titan_sdk import NotFound
from titan_test_suite.pytests.black_box import Box, main

SERVE = """
import http.server, os, threading

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"well" if self.path == "/health" else str(os.getpid()).encode())
        if self.path == "/crash":
            self.wfile.flush()
            os._exit(9)

http.server.ThreadingHTTPServer(("", int(os.environ["PORT"])), Handler).serve_forever()
"""

ASK = """
import sys, urllib.request
from titan_sdk import TitanClient
with TitanClient() as client:
    print(urllib.request.urlopen(client.service(sys.argv[1]).url + "/", timeout=10).read().decode())
"""


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        text: bytes = answer.read()
        return text.decode()


def run(box: Box) -> None:
    health = {"path": "/health", "start": 20, "interval": 0.2}
    service = box.job("web", SERVE, type="service", port="auto", health=health)
    asks = box.job("asks", ASK, args=[box.name("web")], parents=["web"])
    handle = box.client.submit_dag(box.name("service"), [service, asks])
    web = box.client.service(box.name("web"))
    try:
        handle.wait(box.timeout)
        first = get(f"{web.url}/")
        box.check(f"it answers at {web.url}", first.isdigit())
        box.check("a job that depends on it found it ready", handle.job(asks.job_id).logs().strip() == first)
        try:
            get(f"{web.url}/crash")
        except OSError:
            pass
        deadline = time.monotonic() + box.timeout
        info = web.info()
        while not (info.ready and info.restarts == 1) and time.monotonic() < deadline:
            box.client.events(box.client.events().last, wait=0.2)
            info = web.info()
        box.check("after a crash it is back", info.ready and info.restarts == 1, info)
        box.check("as another process", get(f"{web.url}/") != first)
        url = web.url
    finally:
        web.stop()
    deadline = time.monotonic() + box.timeout
    while web.info().state != "COMPLETED" and time.monotonic() < deadline:
        box.client.events(box.client.events().last, wait=0.2)
    box.check("stopped, it has completed", web.info().state == "COMPLETED", web.info())
    try:
        get(f"{url}/")
    except (urllib.error.URLError, OSError):
        box.check("and nobody answers there any more", True)
    else:
        box.check("and nobody answers there any more", False)
    try:
        address = web.address
    except NotFound:
        address = None
    box.check("nor is an address given", address is None, address)


if __name__ == "__main__":
    sys.exit(main(run, __doc__))
