"""The job's end of a task: calls the function, and leaves what it came to for whoever waits for it.

The script of a task holds its function and ends in ``run``; the job's one argument holds the call. All that a call
needs is imported here, so that a worker which preloads this module has nothing left to import for it.
"""

from __future__ import annotations

import base64
import os
import sys
from typing import Any, Final, NoReturn

import cloudpickle

from titan_sdk import __version__
from titan_sdk import task_pickling as pickling
from titan_sdk.connection import ConnectionPool
from titan_sdk.errors import TitanError
from titan_sdk.handles import JobHandle
from titan_sdk.settings import client_settings
from titan_sdk.steady import SteadyCaller, patiently
from titan_sdk.task_results import Payloads
from titan_sdk.task_sources import SourceImporter
from titan_sdk.uploads import Uploader

FAILED: Final = 1
INLINE, CONTENT = "inline:", "content:"
"""How the job's argument begins: the pickled arguments follow in base 85, or their digest."""

SCRIPT: Final = """\
# A call of {name}; see titan_sdk/tasks.py.
CODE = "{code}"
try:
    from titan_sdk.task_runner import run
except ImportError as error:
    raise SystemExit("the Python that runs this call lacks a library: {{}}; pip install titan-sdk there".format(error))
run(CODE)
"""


class VersionMismatch(TitanError):
    """A call cannot be carried out by the Python, or the titan_sdk, that got it; the text says what to do."""


def run(code: str) -> None:
    """Carry out the call that this job is. Exits with FAILED when it fails, after its traceback was printed."""
    key = f"{os.environ['TITAN_RUN_ID']}/{os.environ['TITAN_JOB_ID']}"
    attempt = int(os.environ["TITAN_ATTEMPT"])
    settings = client_settings()
    caller = SteadyCaller(settings.host, settings.port)
    try:
        payloads = Payloads(caller, Uploader(caller, lambda: ConnectionPool(settings.host, settings.port)))
        try:
            data = _call(code, sys.argv[1], payloads, caller)
        except BaseException as error:
            _fail(payloads, key, attempt, error)
        patiently(lambda: payloads.put_result(key, attempt, data))
    finally:
        caller.close()


def _call(code: str, argument: str, payloads: Payloads, caller: SteadyCaller) -> bytes:
    format_, name, function_bytes, sources, python = pickling.loads(base64.b85decode(code))
    if format_ != pickling.FORMAT:
        raise VersionMismatch(
            f"{name} was submitted by another titan_sdk, whose calls have format {format_}; {__version__}, here, "
            f"understands {pickling.FORMAT}. Install the same on both sides"
        )
    here = sys.version_info[:2]
    if python is not None and tuple(python) != here:
        raise VersionMismatch(
            f"{name} was pickled by Python {python[0]}.{python[1]}, and this worker runs {here[0]}.{here[1]} "
            f"(cloudpickle {cloudpickle.__version__}). Put it into a module, which travels as source, or ask for that "
            f"Python with python=..."
        )
    SourceImporter(sources).install()
    function = pickling.loads(function_bytes)
    if isinstance(function, pickling.FunctionRef):
        function = function.load()

    results: dict[str, Any] = {}

    def result_of(ref: str) -> Any:
        if ref not in results:
            results[ref] = _result_of(ref if "/" in ref else f"{os.environ['TITAN_RUN_ID']}/{ref}", caller)
        return results[ref]

    kind, _, given = argument.partition(":")
    arguments = base64.b85decode(given) if f"{kind}:" == INLINE else patiently(lambda: payloads.fetch(given))
    args, kwargs = pickling.loads(arguments, result_of)
    value = function(*args, **kwargs)
    return pickling.dumps(pickling.Outcome(pickling.FORMAT, True, pickling.dumps(value)))


def _result_of(key: str, caller: SteadyCaller) -> Any:
    from titan_sdk.tasks import TaskHandle

    handle: TaskHandle[Any] = TaskHandle(JobHandle(caller, key))
    return patiently(handle.result)  # the call has completed: what this raises is about the way to its result


def _fail(payloads: Payloads, key: str, attempt: int, error: BaseException) -> NoReturn:
    """Say so to the log and to the caller, and end as a script that raised this would."""
    while error.__traceback__ is not None and error.__traceback__.tb_frame.f_code.co_filename == __file__:
        error = error.with_traceback(error.__traceback__.tb_next)  # only what is the function's own is of interest
    if isinstance(error, SystemExit) and not error.code:
        error = RuntimeError("the function ended its process by sys.exit instead of returning")
    sys.excepthook(type(error), error, error.__traceback__)
    sys.stdout.flush()
    outcome = pickling.outcome_of_error(error)
    data = pickling.dumps(outcome)
    patiently(lambda: payloads.put_result(key, attempt, data))
    sys.exit(FAILED)
