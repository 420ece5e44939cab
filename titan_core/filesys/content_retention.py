"""Which of the master's contents go: those that are old, and that nothing refers to."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from titan_core.filesys.asset_manager import AssetManager
from titan_core.filesys.content_store import ContentStore, file_digest

log = logging.getLogger(__name__)

YOUNGEST_S: Final = 24 * 3600
"""A content that came or was asked for within a day stays: its submission may be on the way."""

Pause = Callable[[], bool]
"""Waits for a moment; True: stop now."""
Unmentioned = Callable[[set[str], Pause], set[str]]
"""Those of these digests that nothing refers to, or none when the pause says to stop."""


class ContentRetention:
    """Sweeps the content store and ``staged/``; what people put into perm_files is not its business.

    Args:
        max_age_s: since a content came, or was asked for last. A day is the least.
        unmentioned: finds those that nothing refers to.
        publishing_since: since when (epoch ms) something may have come that will be referred to later.
    """

    def __init__(
        self,
        contents: ContentStore,
        assets: AssetManager,
        *,
        max_age_s: float,
        unmentioned: Unmentioned,
        publishing_since: Callable[[], int | None],
    ) -> None:
        self._contents = contents
        self._assets = assets
        self._max_age_s = max(max_age_s, YOUNGEST_S)
        self._unmentioned = unmentioned
        self._publishing_since = publishing_since
        self._digests: dict[tuple[Path, int, int], str] = {}
        """Of staged files, by path, size and time."""

    def sweep(self, pause: Pause) -> int:
        """Remove what is to go; how many files went. Raises OSError."""
        self._contents.note_uses()
        self._contents.drop_abandoned()
        oldest = time.time() - self._max_age_s
        publishing = self._publishing_since()  # before the search: what has completed by now is found by it
        if publishing is not None:
            oldest = min(oldest, publishing / 1000)
        old = {content.sha256 for content in self._contents.stored() if content.used_at < oldest}
        staged = self._old_staged(oldest, pause)
        candidates = old | set(staged.values())
        doomed = self._unmentioned(candidates, pause) if candidates else set()
        gone = sum(self._contents.remove(sha256, oldest) for sha256 in doomed & old)
        for path, sha256 in staged.items():
            if sha256 in doomed and path.stat().st_mtime < oldest:
                path.unlink()
                gone += 1
        if gone:
            log.info("removed %d old contents that nothing refers to", gone)
        return gone

    def _old_staged(self, oldest: float, pause: Pause) -> dict[Path, str]:
        """Digests of the files in ``staged/`` that were put there before ``oldest``."""
        found: dict[Path, str] = {}
        known, self._digests = self._digests, {}
        for path in self._assets.staged():
            status = path.stat()
            if status.st_mtime >= oldest:
                continue
            key = path, status.st_size, status.st_mtime_ns
            digest = known.get(key)
            if digest is None:
                if pause():
                    break
                digest = file_digest(path)
            found[path] = self._digests[key] = digest
        return found
