"""Pipelines on the command line: ``titan_cli.py deploy PATH`` and ``validate PATH``; installed it is ``titan-cli``.

Exit codes: 0 all went well; 1 something failed or was refused; 2 wrong usage, or no master to ask; 130 after Ctrl-C.
"""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent)
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml", "rich", "cronsim"))

import argparse
import contextlib
import json
import os
import shlex
import threading
from collections.abc import Iterator, Sequence
from typing import Any, Final, NoReturn

from titan_sdk import __version__, schedule_commands
from titan_sdk.client import TitanClient
from titan_sdk.errors import (
    ConfigError,
    ConnectFailed,
    InvalidName,
    NotFound,
    PipelineError,
    Problem,
    RemoteError,
    SubmissionRefused,
    TitanError,
)
from titan_sdk.handles import RunHandle
from titan_sdk.messages import GetLogs, JobInfo, RunInfo, ScheduleSaved
from titan_sdk.pipeline_keys import check_run_name
from titan_sdk.pipeline_params import parse_assignments
from titan_sdk.sizes import counted
from titan_sdk.steady import SteadyCaller
from titan_sdk.titan_yaml_parser import Pipeline, find_pipeline, load_pipeline
from titan_sdk.yaml_lines import printable

FAILED: Final = 1
NOT_DONE: Final = 2
INTERRUPTED: Final = 130
TAIL_BYTES: Final = 16 * 1024
TAIL_LINES: Final = 20
"""The end of a failed job's log that is shown: an exception with its way there."""
MAX_TAILS: Final = 5
"""Failed jobs whose log is shown; a hundred of them mostly failed alike."""
JOBS_SHOWN_PER_S: Final = 10_000
"""A run of ten thousand jobs is looked at once a second, one of ten at every change: looking takes from its work."""


class _Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, like every error here."""

    def error(self, message: str) -> NoReturn:
        self.exit(NOT_DONE, f"error: {message}; {self.prog} --help tells more\n")


def _parser() -> argparse.ArgumentParser:
    # The same options before and after the command; the second time without a default that would undo the first.
    def common(default: Any) -> _Parser:
        options = _Parser(add_help=False, argument_default=default)
        options.add_argument("--host", help="the master's address (default: TITAN_HOST, else 127.0.0.1)")
        options.add_argument("--port", type=int, help="the master's port (default: TITAN_PORT, else 9090)")
        options.add_argument("--json", action="store_true", help="print the result as one JSON value, errors too")
        return options

    parser = _Parser(
        prog=pathlib.Path(sys.argv[0]).name or "titan-cli",
        description="Run pipelines on a Titan cluster.",
        epilog="Exit codes: 0 all went well, 1 something failed or was refused, 2 wrong usage or no master.",
        parents=[common(None)],
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"titan-sdk {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(
            name, help=text, description=text, parents=[common(argparse.SUPPRESS)], allow_abbrev=False
        )

    where = "a pipeline file, or the folder that holds one"
    deploy = command("deploy", "Check a pipeline, upload what the master lacks, and submit or schedule it.")
    deploy.add_argument("path", help=where)
    deploy.add_argument("--wait", action="store_true", help="show the progress, until all jobs ended (services: ready)")
    deploy.add_argument("--replace", action="store_true", help="replace active services of these ids when ready")
    deploy.add_argument("--name", help="call the run so, instead of what the file says")
    deploy.add_argument("--now", action="store_true", help="of a pipeline with a schedule: run it at once, too")
    deploy.add_argument(
        "--param",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a parameter of the pipeline; one for each",
    )
    validate = command("validate", "Name everything that is wrong with a pipeline; no master is asked.")
    validate.add_argument("path", help=where)
    cancel = command("cancel", "Cancel a run, or one job.")
    cancel.add_argument("id", help="of the run or the job")
    cancel.add_argument("--children", action="store_true", help="also what was submitted from inside, however far down")
    rerun = command("rerun", "Run a run again, all of it or what failed.")
    rerun.add_argument("id", help="of the run, or of a job of it")
    rerun.add_argument("--failed", action="store_true", help="only what did not complete, and what depends on that")
    rerun.add_argument("--wait", action="store_true", help="show the progress, until all jobs ended (services: ready)")
    schedule_commands.add_commands(command)
    return parser


# --- the commands -------------------------------------------------------------------------------------------------


def _validate(given: argparse.Namespace) -> int:
    problems: tuple[Problem, ...] = ()
    pipeline = None
    file = str(find_pipeline(given.path))
    try:
        pipeline = load_pipeline(file, None)
    except PipelineError as error:
        problems = error.problems
    if given.json:
        value = {
            "ok": pipeline is not None,
            "file": file,
            "name": pipeline.name if pipeline else None,
            "jobs": [job.job_id for job in pipeline.jobs] if pipeline else [],
            "problems": [{"line": each.line, "where": each.where, "text": each.text} for each in problems],
        }
        print(_json(value))
    elif pipeline is not None:
        print(f"{printable(file)} is fine: {pipeline.name}, {counted(len(pipeline.jobs), 'job')}")
    else:
        print(f"{printable(file)}: {counted(len(problems), 'problem')}")
        for problem in problems:
            print(f"  {problem}")
    return 0 if pipeline else FAILED


def _deploy(given: argparse.Namespace) -> int:
    pipeline = load_pipeline(given.path, parse_assignments(given.param))
    name = pipeline.name if given.name is None else check_run_name(given.name)
    if pipeline.schedule is not None and given.wait and not given.now:
        raise InvalidName(f"{name} has a schedule: there is no run to wait for; --now makes one")
    with _client(given) as client:
        if pipeline.schedule is not None:
            saved = _schedule(client, name, pipeline, given)
            triggered = client.schedule(name).trigger() if given.now else None
            if triggered is None:
                if given.json:
                    print(_json({"schedule": schedule_commands.whole(saved.schedule), "run_id": None}))
                elif given.now:
                    print("It runs when the former run has ended.")
                return 0
            run = triggered
        else:
            run = _submit(client, name, pipeline, progress=not given.json, replace=given.replace)
        if not given.json:
            print(f"Submitted {run.run_id}: {name}, {counted(len(pipeline.jobs), 'job')}", flush=True)
        if not given.wait:
            if given.json:
                print(_json({"run_id": run.run_id, "name": name, "jobs": [job.key for job in run.jobs()]}))
            return 0
        return _follow(client, run, name, given)


def _follow(client: TitanClient, run: RunHandle, name: str, given: argparse.Namespace) -> int:
    try:
        return _wait(client, run, name, given)
    except KeyboardInterrupt:
        how = shlex.join([*_this_program(), "cancel", *_address(given), run.run_id])
        message = f"interrupted; {run.run_id} goes on. To cancel it: {how}"
        raise Interrupted(message) from None


def _schedule(client: TitanClient, name: str, pipeline: Pipeline, given: argparse.Namespace) -> ScheduleSaved:
    """Register the pipeline's schedule, and say when it is due."""
    from titan_sdk.schedule_view import due_lines, times

    assert pipeline.schedule is not None
    with _explained(client, pipeline, "the schedule"):
        params = pipeline.params or None
        saved = client.put_schedule(
            name,
            pipeline.jobs,
            pipeline.schedule,
            params=params,
            options=pipeline.options,
            progress=not given.json,
        )
    if not given.json:
        how = "Scheduled" if saved.created else "Changed the schedule of" if saved.changed else "Nothing changed:"
        jobs = counted(len(pipeline.jobs), "job")
        print(f"{how} {printable(name)}: {times(saved.schedule.when)}, {jobs}; next:")
        for line in due_lines(saved.schedule):
            print(f"  {line}", flush=True)
    return saved


def _submit(client: TitanClient, name: str, pipeline: Pipeline, *, progress: bool, replace: bool) -> RunHandle:
    with _explained(client, pipeline, "the run"):
        return client.submit_dag(
            name,
            pipeline.jobs,
            progress=progress,
            replace=replace,
            params=pipeline.params or None,
            options=pipeline.options,
        )


@contextlib.contextmanager
def _explained(client: TitanClient, pipeline: Pipeline, what: str) -> Iterator[None]:
    """What goes wrong on the way to the master, with the lines of the file that it is about."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted before {client.host}:{client.port} said whether it has {what}") from None
    except PipelineError as error:  # a file changed since, or is too much of something
        raise PipelineError(error.problems, str(pipeline.path)) from None
    except RemoteError as error:
        lines = {job.job_id: job.line for job in pipeline.jobs}
        error.problems = tuple(Problem(each.where, each.text, lines.get(each.where, 0)) for each in error.problems)
        raise


def _wait(client: TitanClient, run: RunHandle, name: str, given: argparse.Namespace) -> int:
    """Follow the run until there is nothing to wait for; 0 when all went well."""
    from titan_sdk import run_view  # rich takes as long to load as all the rest

    info: RunInfo | None = None
    pause = threading.Event()
    with run_view.new_view(quiet=given.json) as view:
        for info in run.watch():
            view.show(info)
            pause.wait(len(info.jobs) / JOBS_SHOWN_PER_S)
    assert info is not None
    lost = [job for job in info.jobs if run_view.failed(job)]
    tails = _tails(client, [job for job in run_view.causes(info.jobs) if job.attempt][:MAX_TAILS])
    if given.json:
        jobs = [_as_json(job, tails.get(job.key)) for job in info.jobs]
        print(_json({"run_id": info.run_id, "name": name, "ok": not lost, "jobs": jobs}))
        return FAILED if lost else 0
    console = run_view.new_console()
    run_view.print_result(console, info)
    causes = run_view.causes(info.jobs)
    for job in causes[: MAX_TAILS * 2]:
        run_view.print_failure(console, job, tails.get(job.key, []))
    if len(causes) > MAX_TAILS * 2:
        print(f"\n... and {len(causes) - MAX_TAILS * 2} more")
    if lost:
        print(f"\n{counted(len(lost), 'job')} of {len(info.jobs)} failed", flush=True)
    return FAILED if lost else 0


def _tails(client: TitanClient, jobs: Sequence[JobInfo]) -> dict[str, list[str]]:
    """The last lines of what each job printed."""
    tails: dict[str, list[str]] = {}
    if not jobs:
        return tails
    caller = SteadyCaller(client.host, client.port)
    try:
        for job in jobs:
            try:
                chunk = caller.call(GetLogs(id=job.key, offset=-TAIL_BYTES))
            except NotFound:  # the log was given up, or there never was one
                continue
            lines = chunk.data.decode("utf-8", "replace").splitlines()
            if chunk.offset and len(lines) > 1:
                del lines[0]  # it begins in the middle of one
            tails[job.key] = lines[-TAIL_LINES:]
    finally:
        caller.close()
    return tails


def _cancel(given: argparse.Namespace) -> int:
    with _client(given) as client:
        cancelled = client.cancel(given.id, children=given.children)
    if given.json:
        print(_json({"id": given.id, "cancelled": cancelled}))
    else:
        print(f"{printable(given.id)} is cancelled" if cancelled else f"{printable(given.id)} had ended before")
    return 0


def _rerun(given: argparse.Namespace) -> int:
    with _client(given) as client:
        run = client.run(given.id).rerun(failed=given.failed)
        jobs = run.jobs()
        if not given.json:
            print(f"Submitted {run.run_id}: {counted(len(jobs), 'job')} of {printable(given.id)} again", flush=True)
        if not given.wait:
            if given.json:
                print(_json({"run_id": run.run_id, "rerun_of": given.id, "jobs": [job.key for job in jobs]}))
            return 0
        return _follow(client, run, run.info().name, given)


def _about_schedules(given: argparse.Namespace) -> int:
    with _client(given) as client:
        return schedule_commands.COMMANDS[given.command](client, given)


COMMANDS: Final = {
    "deploy": _deploy,
    "validate": _validate,
    "cancel": _cancel,
    "rerun": _rerun,
    **dict.fromkeys(schedule_commands.COMMANDS, _about_schedules),
}


# --- what they share ----------------------------------------------------------------------------------------------


class Interrupted(TitanError):
    """Ctrl-C, and what goes on all the same."""


def _client(given: argparse.Namespace) -> TitanClient:
    return TitanClient(host=given.host, port=given.port)


def _address(given: argparse.Namespace) -> list[str]:
    host = ["--host", given.host] if given.host else []
    return [*host, "--port", str(given.port)] if given.port is not None else host


def _this_program() -> list[str]:
    """How it was started, as far as it can be said in words that work again."""
    return ["python", sys.argv[0]] if sys.argv[0].endswith(".py") else [pathlib.Path(sys.argv[0]).name]


def _as_json(job: JobInfo, tail: list[str] | None) -> dict[str, Any]:
    value: dict[str, Any] = {
        "id": job.id,
        "key": job.key,
        "state": job.state,
        "ready": job.ready,
        "attempts": job.attempt,
        "exit_code": job.exit_code,
        "reason": job.reason,
        "worker": job.worker,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
    }
    return value if tail is None else {**value, "log_tail": tail}


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


def _complain(error: BaseException, text: str, as_json: bool) -> None:
    problems = error.problems if isinstance(error, (RemoteError, PipelineError)) else ()
    if as_json:
        value = {"type": type(error).__name__, "message": text, "problems": [str(each) for each in problems]}
        print(_json({"error": value}), file=sys.stderr, flush=True)
        return
    if isinstance(error, PipelineError):
        text = f"{error.source}: {counted(len(problems), 'problem')}"
    elif isinstance(error, SubmissionRefused) and problems:
        text = f"refused: {counted(len(problems), 'problem')}"
    print(f"error: {printable(text)}", file=sys.stderr)
    for problem in problems:
        if problem.text not in text:
            print(f"  {printable(str(problem))}", file=sys.stderr)
    sys.stderr.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    given = _parser().parse_args(argv)
    try:
        return COMMANDS[given.command](given)
    except Interrupted as error:
        _complain(error, str(error), given.json)
        return INTERRUPTED
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except ConnectFailed as error:
        how = "start one: python titan_core/TitanMaster.py, or ./titan-dev up"
        _complain(error, f"no master to ask ({error}); {how}", given.json)
        return NOT_DONE
    except FileNotFoundError as error:
        _complain(error, f"{error.strerror}: {error.filename}", given.json)
        return NOT_DONE
    except (ConfigError, InvalidName) as error:
        _complain(error, str(error), given.json)
        return NOT_DONE
    except BrokenPipeError:  # who reads our output has enough, as in `titan_cli.py deploy --wait PATH | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    except (TitanError, OSError) as error:
        _complain(error, str(error), given.json)
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
