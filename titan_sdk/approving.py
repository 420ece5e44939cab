"""Approvals as people ask for them and answer: what ``approve`` of a job may be, and who is deciding."""

from __future__ import annotations

import contextlib
import getpass
import socket
import uuid
from collections.abc import Mapping
from typing import Any, Final, cast

from titan_sdk.durations import parse_duration
from titan_sdk.errors import InvalidName
from titan_sdk.messages import ApprovalInfo, ApproveSpec, Decide, OnTimeout
from titan_sdk.steady import SteadyCaller

APPROVE_KEYS: Final = ("message", "timeout", "on_timeout")
ON_TIMEOUT: Final = ("reject", "approve")


def approve_spec(job_id: str, given: str | Mapping[str, Any]) -> ApproveSpec:
    """What ``approve`` says: the question, or a map of APPROVE_KEYS.

    Raises:
        InvalidName: an unknown key, no message, a time that is none. TypeError: a value of the wrong type.
    """
    asked = {"message": given} if isinstance(given, str) else dict(given)
    for name in asked:
        if name not in APPROVE_KEYS:
            raise InvalidName(f"{job_id}: approve has no {name!r}; it has {', '.join(APPROVE_KEYS)}")
    message = asked.get("message")
    if message is None:
        raise InvalidName(f"{job_id}: approve has no message: what is asked")
    if not isinstance(message, str):
        raise TypeError(f"the message of approve must be a str, not {type(message).__name__}")
    on_timeout = asked.get("on_timeout", "reject")
    if on_timeout not in ON_TIMEOUT:
        raise InvalidName(f"{job_id}: on_timeout {on_timeout!r} is none of {', '.join(ON_TIMEOUT)}")
    timeout = asked.get("timeout")
    if timeout is None and "on_timeout" in asked:
        raise InvalidName(f"{job_id}: on_timeout {on_timeout} needs a timeout")
    seconds = None if timeout is None else parse_duration(timeout)
    return ApproveSpec(message=message, timeout_s=seconds, on_timeout=cast(OnTimeout, on_timeout))


def who() -> str:
    """Whoever runs this program, as ``user@machine``."""
    user = ""
    with contextlib.suppress(KeyError, OSError, ImportError):  # no such user, as in some containers
        user = getpass.getuser()
    return f"{user or 'somebody'}@{socket.gethostname()}"


def decide(caller: SteadyCaller, job_id: str, approve: bool, comment: str, by: str | None, number: int) -> ApprovalInfo:
    """Answer what is asked about a job, once however often the connection breaks. Raises as TitanClient.approve."""
    return caller.call(
        Decide(
            id=job_id,
            approve=approve,
            by=who() if by is None else by,
            comment=comment,
            number=number,
            request_id=uuid.uuid4().hex,
        )
    )
