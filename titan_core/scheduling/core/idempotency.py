"""What makes two submissions the same one."""

from __future__ import annotations

from hashlib import sha256

import msgspec

from titan_sdk.messages import JobSpec, RunOptions

_CANONICAL = msgspec.msgpack.Encoder(order="deterministic")


def digest_of(jobs: tuple[JobSpec, ...], options: RunOptions | None = None) -> str:
    """Equal specs in the same order, and equal options, give equal digests, whatever the order of their environments.

    It is stored with the run and compared by later masters.
    """
    return sha256(_CANONICAL.encode(jobs if options is None else (jobs, options))).hexdigest()
