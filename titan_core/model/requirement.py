"""What a job needs of a worker, and what a worker offers: capabilities, matched strictly, and resources."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from titan_sdk.messages import JobSpec
from titan_sdk.sizes import format_size

Offer = frozenset[str]
"""The capabilities of a worker."""


class Need(NamedTuple):
    """All that a worker must have for a job. Jobs with equal needs wait in one lane.

    Attributes:
        capabilities: all of them. spawn: the job is another worker; it takes none of the slots of its host.
        millicpus, memory, gpus: how much is set apart while it runs; thousandths of a core, bytes, devices.
        port: on its machine; 0 for none, and for one that is picked there.
    """

    capabilities: Offer
    spawn: bool = False
    millicpus: int = 0
    memory: int = 0
    gpus: int = 0
    port: int = 0

    @property
    def counted(self) -> bool:
        """Whether more than a slot is asked for."""
        return bool(self.millicpus or self.memory or self.gpus or self.port)

    def within(self, other: Need) -> bool:
        """Whether whatever has room for ``other`` would have room for this."""
        return (
            self.capabilities <= other.capabilities
            and self.spawn == other.spawn
            and self.millicpus <= other.millicpus
            and self.memory <= other.memory
            and self.gpus <= other.gpus
            and self.port in (0, other.port)
        )


STRUCTURED: Final = "<structured>"
"""Offered by every worker that is not classic; no capability from outside can be spelled like this."""

_NEW_WORKER: Final = Need(frozenset({STRUCTURED}), spawn=True)

_BEYOND_CLASSIC_TEXT: Final = re.compile(r"[\s|;'\"\\]")
"""A classic worker gets the arguments as one line of text and splits it at white space."""

_CLASSIC_CONTENT_BYTES: Final = 7 * 1024 * 1024
"""A classic worker gets a script or a project in one frame of 10 MiB, as base64."""


def need_of(spec: JobSpec) -> Need:
    """All that must be on one worker for it to run this job.

    The requirement of kind ``worker`` describes the worker to be, not its host, and only a worker of our own can start
    one. Environment, another interpreter, a time limit and arguments that the classic dialect would garble are never
    dropped in silence: such a job does not go to a classic worker, nor does one whose content is too large for it.
    """
    if spec.kind == "worker":
        return _NEW_WORKER
    port = spec.port if spec.kind == "service" else 0
    return _need(spec.requirement, _beyond_classic(spec), round(spec.cpus * 1000), spec.memory, spec.gpus, port)


def offer_of(capabilities: frozenset[str], classic: bool) -> Offer:
    """All that a worker has to satisfy needs with."""
    return capabilities if classic else capabilities | {STRUCTURED}


def describe_need(need: Need, *, dialect: bool) -> str:
    """The need in words, as in "no worker with <this>"; ``dialect``: and that it be no classic one."""
    if need.spawn:
        return "a place for another worker"
    names = " and ".join([*sorted(need.capabilities - {STRUCTURED}), *_resources(need)])
    if not dialect:
        return names or "any capability"
    why = "the structured dialect, which this job needs"
    return f"{names} and {why}" if names else why


def _resources(need: Need) -> list[str]:
    texts = []
    if need.millicpus:
        texts.append(f"{need.millicpus / 1000:g} cpus")
    if need.memory:
        texts.append(f"{format_size(need.memory)} of memory")
    if need.gpus:
        texts.append(f"{need.gpus} gpus")
    return texts


def _beyond_classic(spec: JobSpec) -> bool:
    if (
        spec.env
        or spec.python
        or spec.flow is not None
        or spec.timeout_s is not None
        or spec.cpus
        or spec.memory
        or spec.gpus
    ):
        return True
    if spec.size > _CLASSIC_CONTENT_BYTES or (spec.args and (spec.archive or spec.kind == "service")):
        return True
    return any(not arg or _BEYOND_CLASSIC_TEXT.search(arg) for arg in spec.args)


@lru_cache(maxsize=1024)
def _need(requirement: tuple[str, ...], structured: bool, millicpus: int, memory: int, gpus: int, port: int) -> Need:
    return Need(offer_of(frozenset(requirement), classic=not structured), False, millicpus, memory, gpus, port)
