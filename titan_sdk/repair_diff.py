"""What a repair changes, for whoever decides on it."""

from __future__ import annotations

import difflib
import io
import zipfile
from collections.abc import Callable, Iterator
from typing import Final

from titan_sdk.errors import NotFound
from titan_sdk.messages import GetJob, GetSpecs, RepairInfo
from titan_sdk.steady import SteadyCaller

MAX_SHOWN: Final = 1 << 20
"""Bytes of a file that are compared; of a larger one it is only told that it changed."""


def repair_diff(caller: SteadyCaller, job_id: str, number: int, content: Callable[[str], bytes]) -> str:
    """See TitanClient.repair_diff. ``content``: the bytes of a digest."""
    info = caller.call(GetJob(id=job_id))
    found = [each for each in info.repairs if not number or each.number == number]
    if not found:
        raise NotFound(f"{info.key} has no repair {number}" if number else f"{info.key} was not repaired")
    (spec,) = caller.call(GetSpecs(id=info.key)).jobs
    return "".join(f"{line}\n" for line in _lines(found[-1], spec.file, bool(spec.archive), content))


def _lines(repair: RepairInfo, file: str, archive: bool, content: Callable[[str], bytes]) -> Iterator[str]:
    change = repair.change
    if change is None:
        yield f"nothing is proposed ({repair.reason or repair.state})"
        return
    if change.note:
        yield f"# {change.note}"
    if change.args is not None:
        yield f"- args: {list(repair.before_args)!r}"
        yield f"+ args: {list(change.args)!r}"
    for name, value in change.env.items():
        yield f"+ env {name}={value!r}"
    if change.sha256 and change.sha256 != repair.before_sha256:
        before, after = content(repair.before_sha256), content(change.sha256)
        if archive:
            yield from _folder_diff(before, after)
        else:
            yield from _file_diff(file, before, after)


def _folder_diff(before: bytes, after: bytes) -> Iterator[str]:
    with zipfile.ZipFile(io.BytesIO(before)) as old, zipfile.ZipFile(io.BytesIO(after)) as new:
        for name in sorted({*old.namelist(), *new.namelist()}):
            if name.endswith("/") or _told_apart(old, name) == _told_apart(new, name):
                continue
            sizes = [_told_apart(archive, name)[0] for archive in (old, new)]
            if (
                max(sizes) > MAX_SHOWN
            ):  # a repair proposes what it likes, also what unpacks to more than there is memory
                yield f"{name} changed: {sizes[0]} bytes, now {sizes[1]}"
            else:
                yield from _file_diff(name, *(_read(archive, name) for archive in (old, new)))


def _told_apart(archive: zipfile.ZipFile, name: str) -> tuple[int, int]:
    """Size and checksum of a file; of none, those of an empty one."""
    if name not in archive.NameToInfo:
        return 0, 0
    info = archive.getinfo(name)
    return info.file_size, info.CRC


def _read(archive: zipfile.ZipFile, name: str) -> bytes:
    if name not in archive.NameToInfo:
        return b""
    with archive.open(name) as file:
        return file.read(MAX_SHOWN + 1)


def _file_diff(name: str, before: bytes, after: bytes) -> Iterator[str]:
    try:
        if max(len(before), len(after)) > MAX_SHOWN:
            raise ValueError
        old, new = before.decode().splitlines(), after.decode().splitlines()
    except ValueError:  # no text
        yield f"{name} changed: {len(before)} bytes, now {len(after)}"
        return
    yield from difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm="")
