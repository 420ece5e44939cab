"""What the options of a run may be, checked by whoever makes them and by the master; and what its jobs see of them."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Final

from titan_sdk import job_outputs
from titan_sdk.errors import BadMessage, InvalidName
from titan_sdk.messages import RunOptions
from titan_sdk.names import check_job_id

AGENT_VARIABLE: Final = "TITAN_AGENT_RUN_ID"
_PARAM_VARIABLE: Final = "TITAN_PARAM_{}"
MAX_PARAMS: Final = 100
MAX_PARAM_CHARS: Final = 64 * 1024
"""Names and values together: every job of the run carries them in its environment."""
MAX_SECONDS: Final = 10 * 366 * 24 * 3600.0
"""Ten years; more is a slip of the unit."""
MAX_DEPTH: Final = 1000
"""Generations of runs: a run deeper than this is refused, whatever its budget, as endless recursion is in Python."""
_PARAM_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")


def check_param_name(name: str) -> str:
    """The name itself when it may name a parameter: letters, digits and ``_``, no digit first, 64 characters at most.

    Raises:
        InvalidName: anything else.
    """
    if not _PARAM_NAME.fullmatch(name):
        raise InvalidName(f"{name[:80]!r} is not a parameter's name; letters, digits and _ are wanted, as in region_2")
    return name


def option_problems(options: RunOptions) -> Iterator[str]:
    """What is wrong with the options, as texts."""
    seen: dict[str, str] = {}
    for name, value in options.params.items():
        try:
            check_param_name(name)
        except InvalidName as error:
            yield str(error)
            continue
        if name.upper() in seen:
            yield f"the parameters {seen[name.upper()]} and {name} would both be {variable_of(name)}"
        seen[name.upper()] = name
        if "\0" in value:
            yield f"the parameter {name} holds a NUL, which no variable can"
    size = sum(map(len, options.params)) + sum(map(len, options.params.values()))
    if len(options.params) > MAX_PARAMS or size > MAX_PARAM_CHARS:
        yield f"there may be {MAX_PARAMS} parameters of {MAX_PARAM_CHARS} characters at most, names and values together"
    if options.agent_run_id:
        try:
            check_job_id(options.agent_run_id, "agent run id")
        except InvalidName as error:
            yield str(error)
    if not (0 <= options.idle_s <= MAX_SECONDS):
        yield f"an idle time of {options.idle_s:g} s is out of range; 0 to {MAX_SECONDS:g} is wanted"
    if options.idle_s and not options.open:
        yield "an idle time is for open runs"
    if options.kept or options.kept_outputs:
        yield from _kept_problems(options)
    budget = options.budget
    if budget is not None:
        if budget.max_jobs < 0:
            yield f"a budget of {budget.max_jobs} jobs is below 0"
        if budget.max_depth is not None and not 0 <= budget.max_depth <= MAX_DEPTH:
            yield f"a depth of {budget.max_depth} is out of range; 0 to {MAX_DEPTH} is wanted"
        if not (0 <= budget.wall_s <= MAX_SECONDS and math.isfinite(budget.wall_s)):
            yield f"a wall time of {budget.wall_s:g} s is out of range; 0 to {MAX_SECONDS:g} is wanted"


def _kept_problems(options: RunOptions) -> Iterator[str]:
    for job_id in options.kept:
        try:
            check_job_id(job_id)
        except InvalidName as error:
            yield str(error)
    for job_id, outputs in options.kept_outputs.items():
        try:
            job_outputs.decode(outputs)
        except BadMessage as error:
            yield f"what is kept of {job_id[:80]!r}: {error}"
        if job_id not in options.kept:
            yield f"outputs of {job_id[:80]!r} are kept, but not the job"
    size = sum(map(len, options.kept_outputs.values()))
    if size > job_outputs.MAX_RUN_OUTPUT_BYTES:
        yield f"kept outputs of {size} bytes are over the limit of {job_outputs.MAX_RUN_OUTPUT_BYTES} for one run"


def variable_of(param: str) -> str:
    """The environment variable that carries a parameter."""
    return _PARAM_VARIABLE.format(param.upper())


def variables(options: RunOptions | None) -> Mapping[str, str]:
    """What the options add to the environment of every job of the run."""
    if options is None:
        return {}
    found = {variable_of(name): value for name, value in options.params.items()}
    if options.agent_run_id:
        found[AGENT_VARIABLE] = options.agent_run_id
    return found


def parent_run(key: str) -> str:
    """The run of a submitting job, by the job's key; empty when there is none."""
    return key.partition("/")[0] if "/" in key else ""
