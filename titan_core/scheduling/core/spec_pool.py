"""SpecPool: equal parts of job specs kept once."""

from __future__ import annotations

from typing import Final, TypeVar

from msgspec.structs import replace

from titan_sdk.messages import JobSpec

_BOUND: Final = 4096
"""Distinct values kept; beyond that it starts anew, and equal parts are merely kept twice."""

_NO_ENV: Final[dict[str, str]] = {}

T = TypeVar("T", str, tuple[str, ...])


class SpecPool:
    """Specs come from the network or the store, each with its own copy of the same file name, digest and requirement.

    Among 100,000 queued jobs these are a third of the memory.
    """

    def __init__(self) -> None:
        self._strings: dict[str, str] = {}
        self._tuples: dict[tuple[str, ...], tuple[str, ...]] = {}

    def share(self, spec: JobSpec) -> JobSpec:
        """An equal spec that shares its parts with others."""
        return replace(
            spec,
            file=self._one(self._strings, spec.file),
            sha256=self._one(self._strings, spec.sha256),
            archive=self._one(self._strings, spec.archive),
            requirement=self._one(self._tuples, spec.requirement),
            args=self._one(self._tuples, spec.args),
            env=spec.env or _NO_ENV,
        )

    def _one(self, pool: dict[T, T], value: T) -> T:
        if not value:
            return value
        if len(pool) > _BOUND:
            pool.clear()
        return pool.setdefault(value, value)
