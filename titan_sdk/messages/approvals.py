"""Messages about what people are asked before a job goes on."""

from __future__ import annotations

from typing import Literal

from titan_sdk.messages.base import Message, Request
from titan_sdk.messages.job_spec import OnTimeout
from titan_sdk.protocol import Opcode

Decision = Literal["", "approved", "rejected", "withdrawn"]
"""Empty while it is open; ``withdrawn``: the job was cancelled before anybody decided."""


class ApprovalInfo(Message):
    """A question about a job, and the answer. Times are epoch ms, 0 for none.

    Attributes:
        number: counts what was asked about this job from 1.
        message: the question. expires_at: when ``on_timeout`` decides.
        by: who decided, as they call themselves; ``timeout`` when nobody did in time. comment: what they said.
    """

    key: str
    number: int
    message: str
    asked_at: int
    expires_at: int = 0
    on_timeout: OnTimeout = "reject"
    decision: Decision = ""
    by: str = ""
    comment: str = ""
    decided_at: int = 0


class ApprovalList(Message):
    """``total``: how many there are, of which ``approvals`` may hold a part."""

    approvals: list[ApprovalInfo]
    total: int


class ListApprovals(Request[ApprovalList]):
    """What waits for a person, asked first in front; with ``decided`` the latest that do not any more.

    ``id``: only of this job or run. ``limit``: 1 to 1000.
    """

    OPCODE = Opcode.LIST_APPROVALS
    ANSWER = ApprovalList
    id: str = ""
    decided: bool = False
    limit: int = 1000


class Decide(Request[ApprovalInfo]):
    """Approve or reject what is asked about a job. Conflict when nothing is asked, or it is decided: it says by whom.

    Attributes:
        number: of the question that was decided upon; 0: the one that is open.
        by: who decides. comment: why; of a rejection it becomes part of the job's reason.
        request_id: a repetition with the same one gets the first answer.
    """

    OPCODE = Opcode.DECIDE
    ANSWER = ApprovalInfo
    id: str
    approve: bool
    by: str = ""
    comment: str = ""
    number: int = 0
    request_id: str = ""
