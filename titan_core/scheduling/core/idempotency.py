"""What makes two submissions the same one."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from titan_sdk.messages import JobSpec

_CANONICAL = msgspec.msgpack.Encoder(order="deterministic")


def digest_of(jobs: tuple[JobSpec, ...]) -> str:
    """Equal specs in the same order give equal digests, whatever the order of their environments.

    It is stored with the run and compared by later masters.
    """
    return sha256(_CANONICAL.encode(jobs)).hexdigest()
