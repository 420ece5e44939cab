"""Messages about services that are kept alive."""

from __future__ import annotations

from titan_sdk.messages.base import Message, Request
from titan_sdk.messages.jobs import JobInfo
from titan_sdk.protocol import Opcode


class ServiceInfo(Message):
    """A service and how it does. ``status`` in a word: ready, starting, waiting, restarting, stopping or crash loop.

    ``cpu_percent`` (of one core) and ``memory_bytes`` (resident) are of its whole process tree, as its worker saw them
    at its last heartbeat. ``replaces``: key of the service that is stopped when this one is ready.
    """

    job: JobInfo
    status: str
    uptime_s: float = 0.0
    cpu_percent: float = 0.0
    memory_bytes: int = 0
    processes: int = 0
    replaces: str = ""


class Restarted(Message):
    """Keys of the services that get a new attempt."""

    jobs: list[str]


class Restart(Request[Restarted]):
    """End a service's processes and start it again, without a wait; of a run, all its services. An ended one anew."""

    OPCODE = Opcode.RESTART
    ANSWER = Restarted
    id: str


class Scaled(Message):
    """Keys of the replicas that were started, and of those that are being stopped."""

    started: list[str]
    stopped: list[str]


class Scale(Request[Scaled]):
    """Have ``count`` replicas of a service: NAME, NAME.2, NAME.3 ..., each a job of its own; 0 stops all."""

    OPCODE = Opcode.SCALE
    ANSWER = Scaled
    id: str
    count: int


class ServiceList(Message):
    services: list[ServiceInfo]


class ListServices(Request[ServiceList]):
    """The services that have not ended; with ``name`` that one, its replicas and a version that is to replace it."""

    OPCODE = Opcode.LIST_SERVICES
    ANSWER = ServiceList
    name: str = ""
