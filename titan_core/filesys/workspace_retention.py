"""What a worker removes: folders of ended jobs and contents that are old, or the oldest of what is too much."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from titan_core.filesys.content_store import ContentStore
from titan_core.filesys.workspace_manager import WorkspaceManager

log = logging.getLogger(__name__)

EVERY_S: Final = 300.0
"""Between two sweeps."""
YOUNG_S: Final = 3 * EVERY_S
"""What was in use within this time stays, however much there is: workers that share a workspace tell one another by the
times of the folders, and mark theirs at every sweep."""
_PIECE: Final = 100
"""Folders removed before the disk is left to the jobs for a moment."""

Pause = Callable[[], bool]
"""Waits for a moment; True: stop now."""


class _JobDir(NamedTuple):
    path: Path
    changed_at: float
    """Epoch seconds."""


class WorkspaceRetention:
    """Removes folders of ended jobs below ``jobs/``. ``shared/`` is not its business.

    Args:
        max_age_s: folders go so long after their job was last seen running. max_count, max_bytes: of all together;
            beyond it the oldest go first.
        wanted: further folders that stay: of results that the master has not answered for.
    """

    def __init__(
        self,
        workspace: WorkspaceManager,
        *,
        max_age_s: float,
        max_count: int,
        max_bytes: int,
        wanted: Callable[[], Collection[Path]],
    ) -> None:
        self._workspace = workspace
        self._max_age_s = max_age_s
        self._max_count = max_count
        self._max_bytes = max_bytes
        self._wanted = wanted
        self._last: tuple[float, float] | None = None
        """When the last sweep began, by the wall clock and by the monotonic one."""
        self._sizes: dict[_JobDir, int] = {}
        """Of folders that were measured; an ended job's changes no more."""

    def sweep(self, pause: Pause) -> int:
        """Mark what is in use, and remove what is to go; how many folders went. Raises OSError."""
        now = time.time()
        in_use = set(self._workspace.in_use())
        for folder in in_use:
            with suppress(FileNotFoundError):
                os.utime(folder)
        last, self._last = self._last, (now, time.monotonic())
        if last is not None and abs((now - last[0]) - (self._last[1] - last[1])) > EVERY_S:
            return 0  # the machine slept, or its clock was set: other workers mark theirs first
        self._workspace.finish_removals()
        kept = in_use | set(self._wanted())
        found = sorted(
            (each for each in self._job_dirs() if each.path not in kept and each.changed_at < now - YOUNG_S),
            key=lambda each: each.changed_at,
        )
        sizes = {each: self._sizes[each] if each in self._sizes else _size(each.path) for each in found}
        count, total, gone = len(found), sum(sizes.values()), 0
        for each in found:
            if each.changed_at > now - self._max_age_s and count <= self._max_count and total <= self._max_bytes:
                break
            try:
                gone += self._workspace.remove(each.path, each.changed_at)
            except FileNotFoundError:
                pass  # another worker of this workspace was faster
            except OSError as error:
                log.warning("%s cannot be removed: %s", each.path, error)
            count -= 1
            total -= sizes.pop(each)
            if gone % _PIECE == _PIECE - 1 and pause():
                break
        self._sizes = sizes
        if gone:
            log.info("removed the folders of %d ended jobs; %d are left", gone, count)
        return gone

    def _job_dirs(self) -> list[_JobDir]:
        found = []
        for entry in os.scandir(self._workspace.jobs):
            with suppress(FileNotFoundError):
                if entry.is_dir(follow_symlinks=False):
                    found.append(_JobDir(Path(entry.path), entry.stat(follow_symlinks=False).st_mtime))
        return found


def trim_cache(contents: ContentStore, max_bytes: int, needed: Collection[str]) -> int:
    """Remove those contents that were not used for longest until ``max_bytes`` are left; how many went.

    What is ``needed``, or was used within YOUNG_S, stays. A worker fetches a content again when it needs it again.
    Raises OSError.
    """
    contents.note_uses()
    contents.drop_abandoned()
    now = time.time()
    found = sorted(contents.stored(), key=lambda content: content.used_at)
    total, gone = sum(content.size for content in found), 0
    for content in found:
        if total <= max_bytes:
            break
        if content.sha256 not in needed and contents.remove(content.sha256, now - YOUNG_S):
            total -= content.size
            gone += 1
    if gone:
        log.info("removed %d contents from the cache; %d bytes are left", gone, total)
    return gone


def _size(folder: Path) -> int:
    """Bytes on the disk of all files below a folder."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
    return total
