"""What a worker tells an original master: that it is there, what its jobs print, and how they ended."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Sequence
from typing import Final

from titan_core.tasks.alarms import EXIT_FAILED
from titan_sdk.classic_replies import reply_text
from titan_sdk.classic_request import ClassicRequest
from titan_sdk.classic_to_master import JobComplete, LogBatch, Register, UnregisterService
from titan_sdk.connection import classic_call
from titan_sdk.errors import TitanError

log = logging.getLogger(__name__)

REGISTER_EVERY_S: Final = 30.0
RETRY_REGISTER_S: Final = 2.0
"""While the master does not answer."""
TRIES: Final = 5
"""Of a callback; the pause before the second is FIRST_PAUSE_S, and each further one twice as long."""
FIRST_PAUSE_S: Final = 1.0
_CALL_S: Final = 10.0


class ClassicMaster:
    """The original master at an address, called by its worker. Any thread may call; all calls block."""

    def __init__(self, host: str, port: int) -> None:
        self._host = host
        self._port = port
        self.address = f"{host}:{port}"
        self._stopping = threading.Event()

    def register(self, port: int, capabilities: Sequence[str], permanent: bool) -> None:
        """Register once for each capability: the original takes one at a time, and adds it to those before.

        Raises:
            TitanError: it did not answer, or refused.
        """
        for capability in capabilities:
            self._call(Register(port, (capability,), permanent))

    def lines(self, job_id: str, text: str) -> None:
        """Lines that a job printed. They are not sent again when the master does not take them."""
        try:
            self._call(LogBatch(job_id, text))
        except TitanError as error:
            log.warning("lines of %s did not reach the master: %s", job_id, error)

    def completed(self, job_id: str, completed: bool, result: str) -> bool:
        """How a job ended; False when the master could not be told."""
        return self._call_back(JobComplete(job_id, completed, result), job_id)

    def service_ended(self, service_id: str) -> bool:
        return self._call_back(UnregisterService(service_id), service_id)

    def stop(self) -> None:
        """No further tries."""
        self._stopping.set()

    def _call_back(self, request: ClassicRequest, job_id: str) -> bool:
        pause = FIRST_PAUSE_S
        for number in range(1, TRIES + 1):
            try:
                self._call(request)
                return True
            except TitanError as error:
                log.warning("try %d of %d to report %s: %s", number, TRIES, job_id, error)
            if number == TRIES or self._stopping.wait(pause):
                break
            pause *= 2
        return False

    def _call(self, request: ClassicRequest) -> None:
        reply_text(request.OPCODE, classic_call(self._host, self._port, request.OPCODE, request.format(), _CALL_S))


class ClassicRegistration:
    """A thread that registers with an original master now and every REGISTER_EVERY_S seconds."""

    def __init__(self, master: ClassicMaster, port: int, capabilities: Sequence[str], permanent: bool) -> None:
        self._master = master
        self._port = port
        self._capabilities = tuple(capabilities)
        self._permanent = permanent
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="classic-registration", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()

    def join(self, deadline_s: float) -> None:
        if self._thread.is_alive():
            self._thread.join(deadline_s)

    def _run(self) -> None:
        registered: bool | None = None
        try:
            while not self._stopping.is_set():
                before = registered
                registered = self._register(before)
                self._stopping.wait(REGISTER_EVERY_S if registered else RETRY_REGISTER_S)
        except Exception:
            log.exception("the registration with the master failed; the worker ends")
            os._exit(EXIT_FAILED)

    def _register(self, before: bool | None) -> bool:
        """Whether the master took it; said once for each change."""
        try:
            self._master.register(self._port, self._capabilities, self._permanent)
        except TitanError as error:
            if before is not False:
                log.warning("not registered with the master at %s, trying again: %s", self._master.address, error)
            return False
        if not before:
            log.info("registered with the original master at %s", self._master.address)
        return True
