"""What a job id, a file name, a capability and a port may look like.

Names reach us from files, people and the network and end up in paths, in lines split by ``|`` and ``;``
and on terminals. One rule for each, checked wherever a name comes in.
"""

from __future__ import annotations

import re

from titan_sdk.errors import InvalidName

MAX_ID_BYTES = 180
"""A job id becomes a file name with a suffix, and file systems stop at 255 bytes."""

_FORBIDDEN_IN_ID = frozenset("/\\|;,[]\"'`<>")
_FORBIDDEN_IN_FILE = frozenset("/\\|")
_CAPABILITY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+-]{0,63}")
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_job_id(job_id: str, what: str = "job id") -> str:
    """The id itself when it may name a job.

    Raises:
        InvalidName: empty, longer than MAX_ID_BYTES in UTF-8, ``.`` or ``..``, with white space at an end, or
            with a control character, a quote, a path separator or one of the characters of the classic dialect.
    """
    if not job_id:
        raise InvalidName(f"the {what} is empty")
    if len(job_id.encode("utf-8", "surrogatepass")) > MAX_ID_BYTES:
        raise InvalidName(f"the {what} {job_id[:40]!r}... is longer than {MAX_ID_BYTES} bytes")
    if job_id in (".", "..") or job_id != job_id.strip():
        raise InvalidName(f"{job_id!r} is not a {what}")
    if job_id.isprintable() and _FORBIDDEN_IN_ID.isdisjoint(job_id):
        return job_id
    for char in job_id:
        if char in _FORBIDDEN_IN_ID or not char.isprintable():
            raise InvalidName(f"the {what} {job_id!r} holds {char!r}, which a {what} may not")
    return job_id


def instance_id(job_id: str, index: int) -> str:
    """The id of an instance of an ``each`` job, counted from 0."""
    return f"{job_id}.{index}"


def check_file_name(name: str, what: str = "file name") -> str:
    """The name itself when it names a file directly inside a folder: no path, no way out of the folder.

    Raises:
        InvalidName: empty, too long, ``.`` or ``..``, or with ``/``, ``\\``, ``|`` or a control character.
    """
    if not name:
        raise InvalidName(f"the {what} is empty")
    if name in (".", "..") or len(name.encode("utf-8", "surrogatepass")) > 255:
        raise InvalidName(f"{name[:60]!r} is not a {what}")
    if name.isprintable() and _FORBIDDEN_IN_FILE.isdisjoint(name):
        return name
    for char in name:
        if char in _FORBIDDEN_IN_FILE or not char.isprintable():
            raise InvalidName(f"the {what} {name!r} holds {char!r}; a plain name without a path is wanted")
    return name


def check_relative_path(path: str, what: str = "path") -> str:
    """The path itself when it stays below the folder it is relative to, with ``/`` between its parts.

    Raises:
        InvalidName: empty, absolute, or with a part that check_file_name refuses.
    """
    if not path or path.startswith("/"):
        raise InvalidName(f"{path!r} is not a relative {what}")
    for part in path.split("/"):
        check_file_name(part, f"{what} {path!r}: part")
    return path


def check_capability(name: str) -> str:
    """The capability itself when it is one word of letters, digits and ``_ . : + -``.

    Raises:
        InvalidName: anything else.
    """
    if not _CAPABILITY.fullmatch(name):
        raise InvalidName(f"{name[:80]!r} is not a capability; one word like GPU or HIGH_MEM is wanted")
    return name


def check_port(port: int, what: str = "port", *, zero: bool = False) -> int:
    """The port itself when it is 1 to 65535, or 0 where ``zero`` allows it.

    Raises:
        InvalidName: anything else.
    """
    if not (0 if zero else 1) <= port <= 65535:
        raise InvalidName(f"{what} {port} is out of range; 1 to 65535 is wanted")
    return port


def check_sha256(digest: str) -> str:
    """The digest itself when it is 64 lower-case hexadecimal digits.

    Raises:
        InvalidName: anything else.
    """
    if not _SHA256.fullmatch(digest):
        raise InvalidName(f"{digest[:80]!r} is not a SHA-256 digest")
    return digest
