"""An imitation of the original's worker: it listens, registers again and again, and calls back."""

from __future__ import annotations

import base64
import io
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import zipfile
from contextlib import suppress
from pathlib import Path

from titan_test_suite.pytests.classic_peers import wire


class JavaWorker:
    """Serves HEARTBEAT, STAGE, RUN, RUN_ARCHIVE, START_SERVICE(_ARCHIVE), STOP, CANCEL_JOB and KILL_WORKER.

    Args:
        master: where it registers and calls back.
        folder: its workspace.
        slots: jobs at once; more are answered ERROR_WORKER_SATURATED.
        claimed_slots: what it says in PONG, where that is not ``slots``.
        register_s: seconds between registrations (30 in the original).
        port: to listen on; 0 takes a free one.
    """

    def __init__(
        self,
        master: tuple[str, int],
        folder: Path,
        *,
        capability: str = "GENERAL",
        permanent: bool = False,
        slots: int = 4,
        claimed_slots: int = 0,
        register_s: float = 30.0,
        port: int = 0,
    ) -> None:
        self.master = master
        self.folder = folder
        self.capability = capability
        self.permanent = permanent
        self.slots = slots
        self.claimed_slots = claimed_slots or slots
        self.register_s = register_s
        self.received: list[tuple[int, str]] = []
        self.replies: list[wire.Reply] = []
        self._thawed = threading.Event()
        self._thawed.set()
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._jobs: dict[str, subprocess.Popen[bytes]] = {}
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._threads: list[threading.Thread] = []
        self._connections: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", port))
        self.port = int(self._listener.getsockname()[1])
        folder.mkdir(parents=True, exist_ok=True)

    def __enter__(self) -> JavaWorker:
        self._spawn(self._accept)
        self._spawn(self._keep_registering)
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def ended(self) -> bool:
        return self._ended.is_set()

    def opcodes(self) -> list[int]:
        """Of everything that came in, heartbeats left out."""
        return [opcode for opcode, _ in list(self.received) if opcode != wire.HEARTBEAT]

    def payloads(self, opcode: int) -> list[str]:
        """Of the requests with that opcode."""
        return [text for each, text in list(self.received) if each == opcode]

    def kill_service(self, service_id: str) -> None:
        """As when it crashes: the worker finds it gone."""
        with self._lock:
            self._services[service_id].kill()

    def freeze(self) -> None:
        """Go on accepting, answer nothing."""
        self._thawed.clear()

    def thaw(self) -> None:
        self._thawed.set()

    def die(self) -> None:
        """As when the machine is switched off: no farewell, the jobs are gone."""
        self._ended.set()
        self._thawed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._connections:
                with suppress(OSError):
                    sock.shutdown(socket.SHUT_RDWR)
            for process in [*self._jobs.values(), *self._services.values()]:
                process.kill()

    def stop(self) -> None:
        self.die()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(10.0)

    # --- towards the master ---------------------------------------------------------------------------------------

    def register(self) -> wire.Reply:
        text = f"{self.port}||{self.capability}||{'true' if self.permanent else 'false'}"
        reply = wire.call(self.master, wire.REGISTER, text)
        self.replies.append(reply)
        return reply

    def _keep_registering(self) -> None:
        while not self._ended.is_set():
            with suppress(OSError, AssertionError):
                self.register()
            self._ended.wait(self.register_s)

    def _call_back(self, job_id: str, status: str, result: str) -> None:
        wait = 1.0
        for _ in range(5):
            if self._ended.is_set():
                return
            try:
                self.replies.append(wire.call(self.master, wire.JOB_COMPLETE, f"{job_id}|{status}|{result}"))
                return
            except (OSError, AssertionError):
                self._ended.wait(wait)
                wait *= 2

    def _batch(self, job_id: str, lines: list[str]) -> None:
        with suppress(OSError):
            wire.tell(self.master, wire.LOG_BATCH, f"{job_id}|" + "\n".join(lines))

    # --- towards whoever calls ------------------------------------------------------------------------------------

    def _spawn(self, target: object, *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._connections.add(sock)
            self._spawn(self._serve, sock)

    def _serve(self, sock: socket.socket) -> None:
        """Frames on one connection until the end of the stream."""
        with sock:
            try:
                while (request := wire.read_frame(sock)) is not None:
                    self._thawed.wait()
                    if self._ended.is_set():
                        return
                    self.received.append((request.opcode, request.text))
                    opcode, text = self._answer(request.opcode, request.text)
                    sock.sendall(wire.frame(opcode, text))
            except OSError:
                pass
            finally:
                with self._lock:
                    self._connections.discard(sock)

    def _answer(self, opcode: int, text: str) -> tuple[int, str]:
        if opcode == wire.HEARTBEAT:
            with self._lock:
                return wire.ACK, f"PONG|{len(self._jobs)}|{self.claimed_slots}"
        if opcode == wire.STAGE:
            name, content = text.split("|", 1)
            path = self.folder / name
            path.write_bytes(base64.b64decode(content))
            return wire.ACK, f"FILE_SAVED: {path}"
        if opcode == wire.RUN:
            job_id, name, args = text.split("|", 2)
            return self._run(job_id, self.folder / name, args.split())
        if opcode == wire.RUN_ARCHIVE:
            job_id, entry, content = text.split("|", 2)
            return self._run(job_id, self._unzip(job_id, content) / entry, [])
        if opcode == wire.START_SERVICE:
            name, service_id, port = text.split("|")
            return self._start_service(service_id, self.folder / name, port)
        if opcode == wire.START_SERVICE_ARCHIVE:
            service_id, entry, port, content = text.split("|", 3)
            return self._start_service(service_id, self._unzip(service_id, content) / entry, port)
        if opcode == wire.STOP:
            with self._lock:
                service = self._services.pop(text, None)
            if service is None:
                return wire.ACK, f"UNKNOWN_SERVICE: {text}"
            service.kill()
            return wire.ACK, f"STOPPED: {text}"
        if opcode == wire.CANCEL_JOB:
            with self._lock:
                job = self._jobs.get(text)
            if job is None:
                return wire.ACK, "NOT_FOUND"
            job.kill()
            return wire.ACK, "KILLED"
        if opcode == wire.KILL_WORKER:
            self._spawn(self.die)
            return wire.ACK, "SUCCESS: worker is going down"
        return wire.ERROR, "UNKNOWN_OPCODE"

    def _unzip(self, job_id: str, content: str) -> Path:
        folder = self.folder / "jobs" / job_id / "project"
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(io.BytesIO(base64.b64decode(content))) as zipped:
            zipped.extractall(folder)
        return folder

    def _run(self, job_id: str, script: Path, args: list[str]) -> tuple[int, str]:
        with self._lock:
            if len(self._jobs) >= self.slots:
                return wire.ERROR, "ERROR_WORKER_SATURATED"
            folder = self.folder / "jobs" / job_id
            folder.mkdir(parents=True, exist_ok=True)
            if script.parent == self.folder:
                script = Path(shutil.copy(script, folder))
            process = subprocess.Popen(
                [*_interpreter(script), str(script), *args],
                cwd=script.parent,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            self._jobs[job_id] = process
        self._spawn(self._finish, job_id, process)
        return wire.ACK, "JOB_ACCEPTED"

    def _finish(self, job_id: str, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout
        with process.stdout as output:
            lines = [line.decode("utf-8", "replace").rstrip("\n") for line in output]
        code = process.wait()
        with self._lock:
            if self._jobs.get(job_id) is process:
                del self._jobs[job_id]
        if self._ended.is_set():
            return
        if lines:
            self._batch(job_id, lines)
        text = "\n".join(lines)
        if code == 0:
            self._call_back(job_id, "COMPLETED", f"COMPLETED|0|{text}")
        else:
            self._call_back(job_id, "FAILED", f"FAILED|{code}|{text}")

    def _start_service(self, service_id: str, script: Path, port: str) -> tuple[int, str]:
        process = subprocess.Popen(
            [*_interpreter(script), str(script), port],
            cwd=script.parent,
            env=os.environ | {"PORT": port},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        with self._lock:
            self._services[service_id] = process
        self._spawn(self._watch_service, service_id, process)
        return wire.ACK, f"DEPLOYED_SUCCESS | ID: {service_id} | PID: {process.pid}"

    def _watch_service(self, service_id: str, process: subprocess.Popen[bytes]) -> None:
        process.wait()
        with self._lock:
            known = self._services.pop(service_id, None)
        if known is not None and not self._ended.is_set():
            with suppress(OSError, AssertionError):
                self.replies.append(wire.call(self.master, wire.UNREGISTER_SERVICE, service_id))


def _interpreter(script: Path) -> list[str]:
    return [sys.executable, "-u"] if script.suffix == ".py" else ["sh"]


def wait_for_port(port: int, deadline_s: float = 10.0) -> None:
    """Until something accepts on that port of this machine."""
    end = time.monotonic() + deadline_s
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            assert time.monotonic() < end, f"nothing accepts on port {port}"
            time.sleep(0.02)
