"""What a job needs of a worker, and what a worker offers: sets of capabilities, matched strictly."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final

from titan_sdk.messages import JobSpec

Need = frozenset[str]

STRUCTURED: Final = "<structured>"
"""Offered by every worker that is not classic; no capability from outside can be spelled like this."""

_NEW_WORKER: Final = frozenset({STRUCTURED})

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
    return _need(spec.requirement, _beyond_classic(spec))


def offer_of(capabilities: frozenset[str], classic: bool) -> Need:
    """All that a worker has to satisfy needs with."""
    return capabilities if classic else capabilities | {STRUCTURED}


def describe_need(need: Need) -> str:
    """The need in words, as in "no worker with <this>"."""
    names = " and ".join(sorted(need - {STRUCTURED}))
    if STRUCTURED not in need:
        return names or "any capability"
    why = "the structured dialect, which this job needs"
    return f"{names} and {why}" if names else why


def _beyond_classic(spec: JobSpec) -> bool:
    if spec.env or spec.python or spec.timeout_s is not None:
        return True
    if spec.size > _CLASSIC_CONTENT_BYTES or (spec.args and (spec.archive or spec.kind == "service")):
        return True
    return any(not arg or _BEYOND_CLASSIC_TEXT.search(arg) for arg in spec.args)


@lru_cache(maxsize=1024)
def _need(requirement: tuple[str, ...], structured: bool) -> Need:
    return offer_of(frozenset(requirement), classic=not structured)
