"""Serve the cleaned data: GET /404 answers with the phrase of that status code."""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

with open("status.json") as file:
    PHRASES = json.load(file)


class Phrases(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        phrase = PHRASES.get(self.path.strip("/"), "")
        self.send_response(200 if phrase else 404)
        self.end_headers()
        self.wfile.write(phrase.encode())


port = int(os.environ["PORT"])
print(f"serving {len(PHRASES)} phrases on port {port}")
ThreadingHTTPServer(("127.0.0.1", port), Phrases).serve_forever()
