"""Messages between the worker and the launcher's processes: a length, and a marshalled tuple.

Both ends are the same interpreter, so marshal is safe, and nothing needs to be imported for it.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import marshal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_LENGTH_BYTES = 4


def encode(*message: Any) -> bytes:
    """One message: plain values (None, bool, int, float, str, bytes, and tuples, lists and dicts of them)."""
    body = marshal.dumps(message)
    return len(body).to_bytes(_LENGTH_BYTES, "little") + body


class Decoder:
    """The messages in a stream, however it is cut."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> Iterator[tuple[Any, ...]]:
        """The messages that are complete with ``data``."""
        buffer = self._buffer + data if self._buffer else data
        at = 0
        while len(buffer) - at >= _LENGTH_BYTES:
            end = at + _LENGTH_BYTES + int.from_bytes(buffer[at : at + _LENGTH_BYTES], "little")
            if len(buffer) < end:
                break
            message = marshal.loads(buffer[at + _LENGTH_BYTES : end])
            at = end
            yield message
        self._buffer = buffer[at:]
