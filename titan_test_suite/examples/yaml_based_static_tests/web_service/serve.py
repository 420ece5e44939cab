"""A small web shop: pages from the project, prices as JSON, and a health path that looks at what it needs."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from shop.catalogue import Catalogue
from shop.pages import render

catalogue = Catalogue()


class Shop(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        if self.path == "/health":
            broken = catalogue.problem()
            self._answer(503 if broken else 200, broken or "well", "text/plain")
        elif self.path == "/prices":
            self._answer(200, json.dumps(catalogue.prices), "application/json")
        elif self.path == "/":
            self._answer(200, render(catalogue.prices, os.environ["TITAN_ATTEMPT"]), "text/html; charset=utf-8")
        else:
            self._answer(404, f"there is no {self.path}", "text/plain")

    def _answer(self, status: int, text: str, kind: str) -> None:
        body = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


server = ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Shop)
print(f"serving {len(catalogue.prices)} articles on port {server.server_port}", flush=True)
server.serve_forever()
