"""Python functions as jobs: ``@task``, calls of them, and handles of those calls.

from titan import task

@task(retries=1)
def square(x):
    return x * x

square(3)                           # an ordinary function: runs here
handle = square.submit(3)           # runs on the cluster
handle.result()                     # 9, or the exception that it raised there

[each.result() for each in square.map(range(100))]
"""

from __future__ import annotations

import atexit
import base64
import functools
import inspect
import os
import re
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Generic, TypeVar, cast, overload

from titan_sdk.client import TitanClient
from titan_sdk.errors import InvalidName, JobFailed, TitanError
from titan_sdk.handles import Handle, JobHandle, RunHandle, is_settled
from titan_sdk.job import TitanJob
from titan_sdk.messages import FINAL_STATES, JobInfo
from titan_sdk.steady import Steps

R = TypeVar("R")

INLINE_ARGUMENTS: Final = 8 * 1024
"""Bytes of pickled arguments that travel with the job; larger ones are a content, which travels once."""
_OPTIONS: Final = frozenset(
    {
        *(
            "requirement",
            "priority",
            "affinity",
            "retries",
            "timeout",
            "env",
            "python",
            "fresh",
            "cpus",
            "memory",
            "gpus",
        ),
        *("delay",),
    }
)
"""Arguments of TitanJob that make sense of a call."""


class RemoteTraceback(Exception):
    """The traceback of an exception where it was raised, as the cause of the one that is raised here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f"\n{self.text}"


class TaskHandle(Handle, Generic[R]):
    """The call of a task: a future. Waited for, looked at and cancelled as the job that it is. Thread-safe.

    ``await handle`` gives its result too. Given as an argument to another call it stands for its result.
    """

    def __init__(self, job: JobHandle) -> None:
        super().__init__(job._caller)
        self.job = job

    def __repr__(self) -> str:
        return f"TaskHandle({self.key!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskHandle) and self.job == other.job

    def __hash__(self) -> int:
        return hash(self.job)

    @property
    def key(self) -> str:
        """Of the job, ``run/job``."""
        return self.job.key

    @property
    def job_id(self) -> str:
        return self.job.job_id

    def result(self, timeout: float | None = None) -> R:
        """What the function returned. Waits for it, ``timeout`` seconds at most.

        Raises:
            The exception that the function raised, with its traceback there as the cause.
            JobFailed: it came to nothing: it was cancelled, killed, timed out, left its process (SystemExit), or raised
                what cannot be pickled.
            WaitTimeout: it has not ended in time.
        """
        return self._caller.take(self._result(timeout))

    async def result_async(self, timeout: float | None = None) -> R:
        """``result`` for programs with an event loop; ``await handle`` is the same without a limit."""
        return await self._caller.take_async(self._result(timeout))

    def __await__(self) -> Generator[Any, Any, R]:
        return self.result_async().__await__()

    def exception(self, timeout: float | None = None) -> Exception | None:
        """What ``result`` would raise of the call, or None. Raises WaitTimeout."""
        try:
            self.result(timeout)
        except TitanError as error:
            if isinstance(error, JobFailed) or isinstance(error.__cause__, RemoteTraceback):
                return error
            raise
        except Exception as error:
            return error
        return None

    def wait(self, timeout: float | None = None) -> JobInfo:
        """Wait until it has ended, however. Raises WaitTimeout."""
        return self.job.wait(timeout, check=False)

    def done(self) -> bool:
        return self.job.status() in FINAL_STATES

    def status(self) -> str:
        return self.job.status()

    def logs(self) -> str:
        """What it printed so far."""
        return self.job.logs()

    def cancel(self) -> bool:
        """Cancel it, also while it runs. False: it had ended before."""
        return self.job.cancel()

    def _result(self, timeout: float | None) -> Steps[R]:
        from titan_sdk import task_pickling as pickling
        from titan_sdk.task_results import Payloads

        info = yield from self.job.waiting(timeout, check=False)
        data = yield from Payloads(self._caller).result(info.key, info.attempt)
        if data is None:
            if info.state == "COMPLETED":
                raise JobFailed(info.key, info.state, "its result is not kept any more", info.exit_code)
            raise JobFailed(info.key, info.state, info.reason or f"exit code {info.exit_code}", info.exit_code)
        outcome = pickling.Outcome(*pickling.loads(data))
        if outcome.format != pickling.FORMAT:
            raise JobFailed(info.key, info.state, f"its result is of another titan_sdk (format {outcome.format})")
        if outcome.ok and info.state == "COMPLETED":
            return cast(R, pickling.loads(outcome.value))
        cause = RemoteTraceback(outcome.traceback)
        if info.state != "DEAD" or not outcome.value:
            reason = outcome.error if info.state == "DEAD" else info.reason
            raise JobFailed(info.key, info.state, reason or f"exit code {info.exit_code}", info.exit_code) from cause
        error: BaseException = pickling.loads(outcome.value)
        # SystemExit and KeyboardInterrupt were meant for the process there, and StopIteration cannot leave a generator.
        if not isinstance(error, Exception) or isinstance(error, StopIteration):
            raise JobFailed(info.key, info.state, outcome.error, info.exit_code) from cause
        raise error from cause


class TaskCall(Generic[R]):
    """A call that is not submitted yet: ``submit`` takes it, and the calls among its arguments, as one run."""

    def __init__(self, task: Task[R], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        self.task = task
        self.args = args
        self.kwargs = kwargs

    def __repr__(self) -> str:
        return f"TaskCall({self.task.name})"

    def submit(self) -> TaskHandle[R]:
        """Submit it with all the calls that it needs, as one run."""
        return submit([self], client=self.task.client)[0]


class Task(Generic[R]):
    """A function that can run on the cluster; called, it runs here. Made by ``task``."""

    def __init__(
        self, function: Callable[..., R], *, name: str, client: TitanClient | None, options: Mapping[str, Any]
    ) -> None:
        unknown = sorted(set(options) - _OPTIONS)
        if unknown:
            raise TypeError(f"a task has no option {unknown[0]!r}; it has {', '.join(sorted(_OPTIONS))}")
        functools.update_wrapper(self, function)
        self.__titan_function__ = function
        self.name = name
        self.client = client
        self._options = {"retries": 0, **options}
        self._script: bytes | None = None
        TitanJob(name, "a.py", **self._options)  # says what is wrong with the options now

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def __call__(self, *args: Any, **kwargs: Any) -> R:
        return self.__titan_function__(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        """Inside of a job it is the job's own client that submits."""
        return {**self.__dict__, "client": None, "_script": None}

    def options(self, *, client: TitanClient | None = None, **options: Any) -> Task[R]:
        """The same function with other options, as ``priority=5`` for one call."""
        changed = {**self._options, **options}
        return Task(self.__titan_function__, name=self.name, client=client or self.client, options=changed)

    def submit(self, *args: Any, **kwargs: Any) -> TaskHandle[R]:
        """Run it on the cluster with these arguments; a run of its own. Raises as ``titan_sdk.tasks.submit``."""
        return self.call(*args, **kwargs).submit()

    def map(self, *items: Iterable[Any], name: str = "") -> list[TaskHandle[R]]:
        """One call for each item (of several iterables: for each of their pairs, as the built-in ``map`` does).

        They are one run, so they are accepted all or none; their handles come in the order of the items.
        """
        return submit([self.call(*each) for each in zip(*items, strict=False)], name=name, client=self.client)

    def call(self, *args: Any, **kwargs: Any) -> TaskCall[R]:
        """A call to be submitted later. Calls may stand among the arguments, and mean what they come to."""
        inspect.signature(self.__titan_function__).bind(*args, **kwargs)
        return TaskCall(self, args, kwargs)

    def script(self) -> bytes:
        """The script that carries the function; the same for the same function. Raises InvalidName."""
        if self._script is None:
            self._script = _script_of(self.__titan_function__, self.name)
        return self._script

    def job(self, job_id: str, folder: Path, argument: str, parents: Sequence[str]) -> TitanJob:
        """The job of one call; its script stands in the folder."""
        file = re.sub(r"[^\w.-]", "_", self.name) + ".py"
        return TitanJob(job_id, file, args=[argument], parents=parents, base_dir=folder, **self._options)


@overload
def task(function: Callable[..., R], /) -> Task[R]: ...


@overload
def task(
    *, name: str = "", client: TitanClient | None = None, **options: Any
) -> Callable[[Callable[..., R]], Task[R]]: ...


def task(
    function: Callable[..., R] | None = None, /, *, name: str = "", client: TitanClient | None = None, **options: Any
) -> Task[R] | Callable[[Callable[..., R]], Task[R]]:
    """Make a function one that can run on the cluster.

    Args:
        name: of its jobs; the function's own by default.
        client: that submits its calls; one that TITAN_HOST and TITAN_PORT lead to by default.
        options: those of TitanJob that say where and how often it runs: requirement, priority, affinity, retries (none
            by default), timeout, env, python, fresh, cpus, memory, gpus, delay.
    """

    def decorate(function: Callable[..., R]) -> Task[R]:
        if not callable(function):
            raise TypeError(f"a task is made of a function, not of {function!r}")
        if _runs_later(function):
            raise TypeError(
                f"{function!r} is async or a generator: what its call returns cannot travel; return a value"
            )
        chosen = name or getattr(function, "__name__", type(function).__name__).replace("<lambda>", "lambda")
        return Task(function, name=chosen, client=client, options=options)

    return decorate if function is None else decorate(function)


def _runs_later(function: Callable[..., Any]) -> bool:
    kinds = (inspect.iscoroutinefunction, inspect.isasyncgenfunction, inspect.isgeneratorfunction)
    return any(kind(function) for kind in kinds)


def submit(
    calls: Sequence[TaskCall[R]], *, name: str = "", client: TitanClient | None = None, run: RunHandle | None = None
) -> list[TaskHandle[R]]:
    """Submit calls, and those among their arguments, as one run: each starts when what it needs has completed.

    Args:
        name: of the run, for people. client: as of ``task``.
        run: add them to this open run instead; calls in it may be among the arguments by their handles, also while
            they go on.

    Raises:
        InvalidName: a function or an argument cannot be pickled; the text says which.
        ValueError: among the arguments is the handle of a call in another run that has not ended.
        As TitanClient.submit_dag, or RunHandle.add.
    """
    if not calls:
        return []
    client = client or next((call.task.client for call in calls if call.task.client), None) or _default_client()
    graph = _Graph(client, "" if run is None else run.run_id)
    for call in calls:
        graph.add(call)
    with tempfile.TemporaryDirectory(prefix="titan-task-") as folder:
        jobs = graph.jobs(Path(folder))
        added = client.submit_dag(name or calls[0].task.name, jobs).jobs() if run is None else run.add(jobs)
    handles = {job.job_id: job for job in added}
    return [TaskHandle(handles[graph.ids[id(call)]]) for call in calls]


class _Graph:
    """Calls on their way to become the jobs of one run."""

    def __init__(self, client: TitanClient, run_id: str) -> None:
        from titan_sdk.task_results import Payloads

        self._client = client
        self._payloads = Payloads(client._caller, client._uploads())
        self._run_id = run_id
        self._mark = uuid.uuid4().hex[:8]
        self.ids: dict[int, str] = {}
        self._jobs: list[tuple[str, TaskCall[Any], str, list[str]]] = []

    def add(self, call: TaskCall[Any]) -> str:
        """The id of the call's job; those that it needs go before it."""
        from titan_sdk import task_pickling as pickling

        if id(call) in self.ids:
            found = self.ids[id(call)]
            if not found:
                raise ValueError(f"{call} is among its own arguments")
            return found
        self.ids[id(call)] = ""
        parents: dict[str, None] = {}

        def ref_of(each: Any) -> pickling.JobRef | None:
            if isinstance(each, TaskCall):
                parents.setdefault(self.add(each))
                return pickling.JobRef(self.add(each))
            if isinstance(each, TaskHandle):
                if self._run_id and each.job.run_id == self._run_id:
                    parents.setdefault(each.job_id)
                elif not is_settled(each.job.info()):
                    raise ValueError(
                        f"{each.key} has not ended; make a call of it with call() instead of submit(), and both are "
                        f"submitted as one run, or have both in one open run"
                    )
                return pickling.JobRef(each.key)
            return None

        try:
            data = pickling.dumps((call.args, call.kwargs), ref_of)
        except (ValueError, TitanError):
            raise
        except Exception as error:
            raise InvalidName(f"the arguments of {call.task.name} cannot be pickled: {error}") from error
        argument = self._argument(data)
        job_id = f"{call.task.name}-{self._mark}-{len(self._jobs)}"
        self.ids[id(call)] = job_id
        self._jobs.append((job_id, call, argument, list(parents)))
        return job_id

    def jobs(self, folder: Path) -> list[TitanJob]:
        jobs = []
        folders: dict[bytes, Path] = {}
        for job_id, call, argument, parents in self._jobs:
            script = call.task.script()
            if script not in folders:  # several tasks may have the same name
                folders[script] = folder / str(len(folders))
                folders[script].mkdir()
            job = call.task.job(job_id, folders[script], argument, parents)
            path = job.path()
            if not path.exists():
                path.write_bytes(script)
            jobs.append(job)
        return jobs

    def _argument(self, data: bytes) -> str:
        from titan_sdk.task_runner import CONTENT, INLINE

        if len(data) <= INLINE_ARGUMENTS:
            return INLINE + base64.b85encode(data).decode()
        return CONTENT + self._payloads.upload(data)


def _script_of(function: Callable[..., Any], name: str) -> bytes:
    from titan_sdk import task_pickling as pickling
    from titan_sdk.task_runner import SCRIPT
    from titan_sdk.task_sources import is_own, own_modules

    module = getattr(function, "__module__", "") or ""
    ref = _by_name(function, module)
    if ref is not None:
        data, python = pickling.dumps(ref), None
        sources = own_modules([module]) if is_own(module) else {}
    else:
        try:
            data = pickling.dumps(function)
        except Exception as error:
            raise InvalidName(f"the function {name} cannot be pickled: {error}") from error
        python = sys.version_info[:2]
        sources = own_modules([], [_text_of(module)])
    code = pickling.dumps(tuple(pickling.FunctionCode(pickling.FORMAT, name, data, sources, python)))
    # In base 85 there is neither a quote nor a backslash.
    return SCRIPT.format(name=name, code=base64.b85encode(code).decode()).encode()


def _by_name(function: Callable[..., Any], module: str) -> Any:
    """How a function of a module is found there; None when only pickling it will do."""
    from titan_sdk import task_pickling as pickling

    qualname = getattr(function, "__qualname__", "")
    if not module or module in ("__main__", "__mp_main__") or not qualname or "<" in qualname:
        return None
    ref = pickling.FunctionRef(module, qualname)
    try:
        return ref if ref.load() is function else None
    except (ImportError, AttributeError):
        return None


def _text_of(module: str) -> str:
    """The source of the program, or of the module that a function was made in; empty where there is none (a shell)."""
    file = getattr(sys.modules.get(module or "__main__"), "__file__", None)
    try:
        return Path(file).read_text(encoding="utf-8") if file else ""
    except (OSError, UnicodeDecodeError):
        return ""


_default: list[TitanClient] = []
_default_lock = threading.Lock()


def _default_client() -> TitanClient:
    with _default_lock:
        if not _default:
            _default.append(TitanClient())
            atexit.register(_default[0].close)
        return _default[0]


def _after_fork() -> None:
    global _default_lock  # noqa: PLW0603 - it may be held by a thread that this process does not have
    _default_lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork)
