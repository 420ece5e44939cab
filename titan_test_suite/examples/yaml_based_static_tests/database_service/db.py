"""A database for the time of a run: SQL in a line, the rows as JSON in a line, over TCP."""

import json
import os
import socketserver
import sqlite3
import threading

database = sqlite3.connect(":memory:", check_same_thread=False, isolation_level=None)
database.execute("CREATE TABLE measurements (place TEXT, hour INTEGER, degrees REAL)")
one_at_a_time = threading.Lock()


class Session(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            try:
                with one_at_a_time:
                    answer = {"rows": database.execute(line.decode()).fetchall()}
            except sqlite3.Error as error:
                answer = {"error": str(error)}
            self.wfile.write(json.dumps(answer).encode() + b"\n")


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


with Server(("127.0.0.1", int(os.environ["PORT"])), Session) as server:
    print("the database is open", flush=True)
    server.serve_forever()
