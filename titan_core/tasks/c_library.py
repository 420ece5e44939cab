"""The few things of the C library and of the interpreter that Python has no function for.

Only the C half of ctypes is loaded: the Python half would cost each forked job memory and show in its sys.modules.
Where even that is missing, everything here does without, as said at each function.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

try:
    import _ctypes

    _handle = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]  # None: this program itself

    class _Function(_ctypes.CFuncPtr):
        """A C function that is called without giving up the interpreter lock."""

        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI
        _restype_ = None

    def _function(name: str) -> Any:
        return _Function(_ctypes.dlsym(_handle, name))

    _exit = _function("exit")
    _prctl = _ctypes.dlsym(_handle, "prctl") if sys.platform == "linux" else 0
    _leave_call = _function("Py_LeaveRecursiveCall")
except (ImportError, OSError, AttributeError):
    _exit = _leave_call = None
    _prctl = 0

_PR_SET_CHILD_SUBREAPER = 36


def become_subreaper() -> bool:
    """Make orphans below this process its children. False where the system has no such thing (it is Linux's)."""
    return bool(_prctl) and _ctypes.call_function(_prctl, (_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) == 0


def forget_c_calls(count: int) -> None:
    """Take ``count`` calls off what the interpreter counts towards its recursion limit. Not possible: not done."""
    if _leave_call is not None:
        for _ in range(count):
            _leave_call()


def exit_process(code: int) -> NoReturn:
    """End with C's exit: exit handlers of C libraries run, C files are flushed, the interpreter is not taken apart."""
    if _exit is not None:
        _exit(code)
    os._exit(code)
