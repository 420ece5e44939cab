"""Output of running jobs as datagrams: numbered and sealed, for a live view that fills its gaps from the master's log.

Whoever watches gives a watch id and a secret; a worker numbers the datagrams of each watch from 0. A datagram that was
lost, changed or made up costs nothing but the time of a question to the master.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from typing import Final, NamedTuple

MAGIC: Final = b"TLG1"
DATA_BYTES: Final = 1100
"""Output in one datagram: with everything else below the 1500 bytes that any network carries in one piece."""
MAX_DATAGRAM: Final = 2048
_HEAD: Final = struct.Struct(">4s8sQIQQH")
_SEAL_BYTES: Final = 16


class LogDatagram(NamedTuple):
    """Bytes of an attempt's log. ``size``: how long the log is by now; ``seq``: of the sender, for this watch."""

    watch: bytes
    seq: int
    key: str
    attempt: int
    offset: int
    size: int
    data: bytes


def seal(datagram: LogDatagram, secret: bytes) -> bytes:
    """The packet, with a seal that only who knows the secret can make."""
    key = datagram.key.encode()
    head = _HEAD.pack(MAGIC, datagram.watch, datagram.seq, datagram.attempt, datagram.offset, datagram.size, len(key))
    body = head + key + datagram.data
    return body + hmac.digest(secret, body, hashlib.sha256)[:_SEAL_BYTES]


def unseal(packet: bytes, secret: bytes) -> LogDatagram | None:
    """What is in a packet; None when it is none of ours, cut, or not sealed with the secret."""
    if not _HEAD.size + _SEAL_BYTES <= len(packet) <= MAX_DATAGRAM or packet[:4] != MAGIC:
        return None
    body, mac = packet[:-_SEAL_BYTES], packet[-_SEAL_BYTES:]
    if not hmac.compare_digest(hmac.digest(secret, body, hashlib.sha256)[:_SEAL_BYTES], mac):
        return None
    _, watch, seq, attempt, offset, size, length = _HEAD.unpack_from(body)
    key = body[_HEAD.size : _HEAD.size + length]
    return LogDatagram(watch, seq, key.decode("utf-8", "replace"), attempt, offset, size, body[_HEAD.size + length :])
