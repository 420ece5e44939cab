"""How functions, arguments, results and exceptions become bytes and come back.

cloudpickle does it: it is what the field uses (Dask, Ray, Spark), and pickles what pickle cannot: lambdas, closures,
what was typed into a shell. A function of a module is known by its name instead, and its module imported.
"""

from __future__ import annotations

import importlib
import io
import pickle
import traceback
from collections.abc import Callable
from typing import Any, NamedTuple

import cloudpickle

from titan_sdk.task_sources import Source

FORMAT = 1
"""Of calls and results; another one is of a titan_sdk that is much older or newer."""


class FunctionRef(NamedTuple):
    """A function by name, to be imported."""

    module: str
    qualname: str

    def load(self) -> Callable[..., Any]:
        found: Any = importlib.import_module(self.module)
        for name in self.qualname.split("."):
            found = getattr(found, name)
        return plain_function(found)


class JobRef(NamedTuple):
    """In arguments, in place of the handle of another call: what that came to. A bare id is of the same run."""

    job: str


class Outcome(NamedTuple):
    """What a call came to: its value, or how it failed and the traceback as text."""

    format: int
    ok: bool
    value: bytes
    traceback: str = ""
    error: str = ""


class FunctionCode(NamedTuple):
    """What the script of a task carries. ``python``: of the caller, when the function itself is pickled."""

    format: int
    name: str
    function: bytes
    sources: dict[str, Source]
    python: tuple[int, int] | None


def plain_function(found: Any) -> Callable[..., Any]:
    """The function that a task decorates, or what else can be called."""
    function: Callable[..., Any] = getattr(found, "__titan_function__", found)
    return function


class _Pickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: io.BytesIO, ref_of: Callable[[Any], JobRef | None]) -> None:
        super().__init__(file)
        self._ref_of = ref_of

    def persistent_id(self, each: Any) -> str | None:
        ref = self._ref_of(each)
        return None if ref is None else ref.job


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, value_of: Callable[[str], Any]) -> None:
        super().__init__(file)
        self._value_of = value_of

    def persistent_load(self, pid: Any) -> Any:
        return self._value_of(pid)


def dumps(value: object, ref_of: Callable[[Any], JobRef | None] = lambda _: None) -> bytes:
    """Raises whatever pickling raises (PicklingError, TypeError, ...)."""
    file = io.BytesIO()
    _Pickler(file, ref_of).dump(value)
    return file.getvalue()


def loads(data: bytes, value_of: Callable[[str], Any] | None = None) -> Any:
    return pickle.loads(data) if value_of is None else _Unpickler(io.BytesIO(data), value_of).load()


def outcome_of_error(error: BaseException) -> Outcome:
    """An exception as an outcome; without the exception itself when it cannot be pickled."""
    text = "".join(traceback.format_exception(error)).rstrip()
    summary = traceback.format_exception_only(error)[-1].strip()
    error.__traceback__ = None
    try:
        value = dumps(error)
        loads(value)  # many that can be pickled cannot be made again
    except Exception:
        value = b""
    return Outcome(FORMAT, False, value, text, summary)
