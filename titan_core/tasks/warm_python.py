"""Turns a process forked from the warm interpreter into what ``python -u script.py`` would be.

The script runs below no frame of ours: stack walks, warnings, tracebacks and the recursion limit are as in an
interpreter of its own. This is how. A forked process leaves all of the launcher's functions and returns to the end of
launcher_main.py, whose code object then goes away; a weak reference to it has a callback written in C that calls
``exec``, and so the interpreter's C code calls the script. What the script raises comes back as an "unraisable"
exception, which is where it is reported as the interpreter would have done; a second weak reference's callback does
what is done after that. From there on things take their natural course, through threading's shutdown and the atexit
callbacks, of which ours, registered first, is the last: it takes the script's modules apart, so that files are flushed
and finalizers run, and spares the rest of the interpreter.

What cannot be had this way (source that does not compile, or warns as it does) is left to a new interpreter: nothing
has been run yet, so exec puts it into exactly this place. The tests compare both ways on every Python version.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import _imp
import _io
import _warnings
import atexit
import gc
import os
import posix
import sys
import time
from _functools import partial  # type: ignore[import-not-found]
from _operator import methodcaller
from _weakref import ref

from titan_core.tasks.c_library import exit_process, forget_c_calls

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Callable, Mapping, Sequence
    from types import CodeType, TracebackType
    from typing import Any, NoReturn
else:
    import _signal

_C_CALLS_BELOW = 3
"""Between the interpreter's main function and the script: the callback, the method it calls, and exec."""

_IGNORED_BY_US = (_signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)
_FILE_TYPES = (_io.TextIOWrapper, _io.BufferedWriter, _io.BufferedRandom)
_LAST_EXIT_CODE = 120
"""What the interpreter exits with when standard output cannot be flushed."""


class WarmJob:
    """A script to become, prepared as far as can be before the fork: what is touched after it is copied.

    Attributes:
        argv: the interpreter, ``-u``, the script, and its arguments. folder: the script's real one.
        changed, removed: how its environment differs from the launcher's, encoded.
        output: becomes stdout and stderr. close: the launcher's descriptors.
        code: compiled already, for whatever file name, or None; then it is ``source`` that is compiled.
        keep: what the process need not take the time to free.
    """

    __slots__ = ("argv", "changed", "close", "code", "folder", "keep", "output", "removed", "source")

    def __init__(
        self,
        argv: tuple[str, ...],
        changed: dict[bytes, bytes],
        removed: tuple[bytes, ...],
        *,
        folder: str,
        source: bytes,
        code: CodeType | None,
        output: int,
        close: Sequence[int],
        keep: object,
    ) -> None:
        self.argv = argv
        self.folder = folder
        self.changed = changed
        self.removed = removed
        self.source = source
        self.code = code
        self.output = output
        self.close = close
        self.keep = keep


def compile_quietly(source: bytes, filename: str, *, refuse: type[Warning]) -> CodeType | None:
    """The code of a script; None when it does not compile or compiling it gives a warning of the kind ``refuse``."""
    filters = getattr(sys.modules.get("warnings", _warnings), "filters")  # noqa: B009 - not in the type stubs
    filters.insert(0, ("error", None, refuse, None, 0))
    try:
        code: CodeType = compile(source, filename, "exec", dont_inherit=True)
    except Exception:
        return None
    finally:
        del filters[0]
    return code


class _State:
    """Of the one script that this process runs."""

    bootstrap: Any = None
    """Keeps the weak references alive until their callbacks have been called."""
    code: CodeType
    namespace: dict[str, Any]
    job: WarmJob
    started = False
    registered = True
    """Whether _finish is the first of the atexit callbacks still."""
    exit_code = 0
    interrupted = False
    unraisable_hook: Callable[[Any], Any]


class _Registration:
    """Given to our atexit callback, and gone when the script has the callbacks run or cleared."""

    def __del__(self) -> None:
        _State.registered = False


class _Run(partial):  # type: ignore[misc]
    """The call of exec, which does not outlive it: its end is the script's end, just before what it raised shows."""

    def __del__(self) -> None:
        _flush_quietly()
        _State.unraisable_hook = sys.unraisablehook
        sys.unraisablehook = _on_unraisable
        if not _State.registered:
            atexit.register(_run_callbacks_and_finish)


class _Bootstrap(ref):  # type: ignore[type-arg]  # as above
    """A weak reference to launcher_main's code, with the script as a method to call on it."""

    @property
    def run(self) -> _Run:
        _State.started = True
        if sys.version_info < (3, 12):  # later ones count calls of Python and of C apart
            forget_c_calls(_C_CALLS_BELOW)
        return _Run(exec, _State.code, _State.namespace)


_call_run = methodcaller("run")


def _after_run(reference: object) -> None:
    """What the interpreter does with a script's module once its end has been reported."""
    for name in ("__file__", "__cached__"):
        _State.namespace.pop(name, None)


modules_before: frozenset[str] = frozenset()
"""Names in sys.modules before any script, once the launcher is ready."""


def become(job: WarmJob, bootstrap: CodeType, namespace: dict[str, Any], pristine: Mapping[str, Any]) -> None:
    """Make this process the script's; it runs when ``bootstrap``, the code at the bottom of the stack, has ended.

    ``namespace`` is that of the launcher's ``__main__``, and ``pristine`` what the interpreter had put there.
    """
    os.setsid()
    _signal.set_wakeup_fd(-1)
    for number in (_signal.SIGCHLD, *_IGNORED_BY_US):
        _signal.signal(number, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.default_int_handler)
    os.dup2(job.output, 1)
    os.dup2(job.output, 2)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, ())  # the supervisor had SIGTERM wait until here
    for fd in job.close:
        os.close(fd)

    script = job.argv[2]
    code = job.code
    if code is not None:
        _imp._fix_co_filename(code, script)  # type: ignore[attr-defined]
    else:
        code = compile_quietly(job.source, script, refuse=SyntaxWarning)
        if code is None:
            exec_instead(job)
    _set_environment(job)
    sys.argv = list(job.argv[2:])
    sys.orig_argv = list(job.argv)
    if not getattr(sys.flags, "safe_path", False):
        sys.path.insert(0, job.folder)
    _reseed()

    # A module of its own: what the collector was told to spare (zygote.run) keeps alive what it leads to.
    main = type(sys)("__main__")
    sys.modules["__main__"] = main
    namespace.clear()
    main.__dict__.update(pristine)
    main.__dict__["__file__"] = script
    main.__dict__["__loader__"] = type(pristine["__loader__"])("__main__", script)

    _State.job = job
    _State.code = code
    _State.namespace = main.__dict__
    # The callback of the youngest comes first.
    _State.bootstrap = [ref(bootstrap, _after_run), _Bootstrap(bootstrap, _call_run)]
    atexit.register(_finish, _Registration())


def exec_instead(job: WarmJob) -> NoReturn:
    """Become a new interpreter that runs the script."""
    for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # ignored by an interpreter; its children are not to inherit that
        _signal.signal(number, _signal.SIG_DFL)
    try:
        os.execve(job.argv[0], job.argv, whole_environment(job.changed, job.removed))
    except OSError as error:
        os.write(2, f"cannot run {job.argv[0]}: {error.strerror}\n".encode())
        os._exit(126)


def whole_environment(changed: Mapping[bytes, bytes], removed: Sequence[bytes]) -> dict[bytes, bytes]:
    """The launcher's environment, changed so."""
    env: dict[bytes, bytes] = {**posix.environ, **changed}
    for name in removed:
        env.pop(name, None)
    return env


def _set_environment(job: WarmJob) -> None:
    data = posix.environ  # what os.environ and os.environb look into, too
    for name, value in job.changed.items():
        data[name] = value
        os.putenv(name, value)
    for name in job.removed:
        data.pop(name, None)
        os.unsetenv(name)
    if b"TZ" in job.removed or b"TZ" in job.changed:
        time.tzset()


def _reseed() -> None:
    """Random numbers of a preloaded library begin anew; the random module sees to itself when it is forked."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()


# --- the end ------------------------------------------------------------------------------------------------------


def _on_unraisable(unraisable: Any) -> None:
    if unraisable.object is not _call_run:
        _State.unraisable_hook(unraisable)
        return
    sys.unraisablehook = _State.unraisable_hook
    exception = unraisable.exc_value
    if isinstance(exception, SystemExit):
        _State.exit_code = _exit_code(exception)
        return
    _State.exit_code = 1
    _State.interrupted = type(exception) is KeyboardInterrupt
    _show(exception, unraisable.exc_traceback)


def _exit_code(exception: SystemExit) -> int:
    """As pythonrun.c's handle_system_exit."""
    code = exception.code
    if code is None:
        return 0
    if isinstance(code, int):
        return code & 0xFF if -(2**63) <= code < 2**63 else 0xFF
    try:
        text = str(code)
    except BaseException:
        text = ""
    _write_stderr(f"{text}\n")
    return 1


def _show(exception: BaseException, traceback: TracebackType | None) -> None:
    """As pythonrun.c's PyErr_PrintEx: through sys.excepthook, and by other means where that fails."""
    kind = type(exception)
    exception = exception.with_traceback(traceback)
    if sys.version_info >= (3, 12):
        sys.last_exc = exception
    sys.last_type, sys.last_value, sys.last_traceback = kind, exception, traceback
    hook = getattr(sys, "excepthook", None)
    if hook is None:
        _write_stderr("sys.excepthook is missing\n")
        sys.__excepthook__(kind, exception, traceback)
        return
    try:
        hook(kind, exception, traceback)
    except SystemExit as ending:
        _State.exit_code = _exit_code(ending)
    except BaseException as failure:
        _write_stderr("Error in sys.excepthook:\n")
        below = failure.__traceback__ and failure.__traceback__.tb_next
        sys.__excepthook__(type(failure), failure.with_traceback(below), below)
        _write_stderr("\nOriginal exception was:\n")
        sys.__excepthook__(kind, exception, traceback)


def _write_stderr(text: str) -> None:
    """As PySys_WriteStderr: through sys.stderr, and past it where it is missing or broken."""
    try:
        sys.stderr.write(text)
    except Exception:
        os.write(2, text.encode("utf-8", "backslashreplace"))


def _run_callbacks_and_finish() -> None:
    """In place of _finish, when the script has removed that: the youngest of the callbacks, not the last."""
    if sys._getframe().f_back is None:
        atexit.unregister(_run_callbacks_and_finish)
        atexit._run_exitfuncs()
        _finish(None)


def _finish(registration: _Registration | None) -> None:
    """The last of the atexit callbacks: in the interpreter's own order, as much of its end as can be noticed."""
    if registration is not None and sys._getframe().f_back is not None:
        return  # it is the script that has the callbacks run
    if not _State.started:  # an interpreter that keeps its main code alive: do without all this
        exec_instead(_State.job)
    flushed = _flush()
    _take_modules_apart()
    _flush_quietly()
    if _State.interrupted:
        _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
        os.kill(os.getpid(), _signal.SIGINT)
    exit_process(_State.exit_code if flushed else _LAST_EXIT_CODE)


def _flush() -> bool:
    """As pylifecycle.c's flush_std_files. False when standard output does not take what was written."""
    flushed = True
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name, None)
        if stream is None or _is_closed(stream):
            continue
        try:
            stream.flush()
        except BaseException as error:
            if name == "stdout":
                flushed = False
                _report_unflushed(stream, error)
    return flushed


def _is_closed(stream: Any) -> bool:
    try:
        return bool(stream.closed)
    except BaseException:
        return False


def _flush_quietly() -> None:
    """As pythonrun.c's flush_io, when a script has ended."""
    for name in ("stderr", "stdout"):
        try:
            getattr(sys, name).flush()
        except BaseException:
            pass


def _flush_files() -> None:
    """Before the collector takes files apart in an order of its own, in which a file may be closed before its buffer.

    Not while other threads run: one that is held up in a write to such a file would hold up this one too.
    """
    if len(sys._current_frames()) == 1:
        for found in gc.get_objects():
            if type(found) in _FILE_TYPES:
                try:
                    found.flush()
                except BaseException:
                    pass


def _report_unflushed(stream: Any, error: BaseException) -> None:
    where = "on flushing sys.stdout:" if sys.version_info >= (3, 13) else f"in: {stream!r}"
    _write_stderr(f"Exception ignored {where}\n")
    sys.__excepthook__(type(error), error.with_traceback(None), None)


def _take_modules_apart() -> None:
    """As pylifecycle.c's finalize_modules, for what the script has brought in: the rest would end unnoticed."""
    for name in ("path", "argv", "ps1", "ps2", "last_type", "last_value", "last_traceback", "last_exc",
                 "path_hooks", "path_importer_cache", "meta_path", "__interactivehook__"):  # fmt: skip
        if hasattr(sys, name):
            setattr(sys, name, None)
    sys.stdin, sys.stdout, sys.stderr = sys.__stdin__, sys.__stdout__, sys.__stderr__
    _State.namespace = {}
    modules = sys.modules
    remaining = []
    for name in [name for name in modules if name == "__main__" or name not in modules_before]:
        module = modules.pop(name)
        try:
            remaining.append(ref(module))
        except TypeError:  # whatever the script put there
            pass
        del module
    kept = list(modules.values())
    modules.clear()
    _flush_files()
    gc.collect()
    for reference in reversed(remaining):
        alive: object = reference()
        contents = getattr(alive, "__dict__", None)
        if isinstance(contents, dict):
            for private in (True, False):
                for name in list(contents):
                    if isinstance(name, str) and name != "__builtins__" and (_is_private(name) or not private):
                        contents[name] = None
        del alive, contents
    del kept


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")
