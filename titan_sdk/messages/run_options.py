"""What is asked for of a run as a whole, beside its jobs."""

from __future__ import annotations

from typing import Final

from msgspec import field

from titan_sdk.messages.base import Message


class Budget(Message, frozen=True):
    """What a run and all its descendants may use together; 0 or None: no bound.

    Attributes:
        max_jobs: jobs ever accepted, those of the run itself among them; retries and repairs are not counted.
        max_depth: generations of runs below the run; 0: its jobs may submit nothing.
        wall_s: seconds from the run's acceptance; what is left then is cancelled.
    """

    max_jobs: int = 0
    max_depth: int | None = None
    wall_s: float = 0.0


class RunOptions(Message, frozen=True):
    """Said once, when the run is submitted; never changed after acceptance.

    Attributes:
        params: values by name; its jobs find each as ``TITAN_PARAM_NAME``.
        budget: bounds the run and what it starts, however far down.
        agent_run_id: groups the submissions of one agent run. A run submitted from inside a job takes over that of the
            job's run when it names none; its jobs find it as ``TITAN_AGENT_RUN_ID``.
        open: jobs may be added until it is closed; it is not finished before.
        idle_s: an open run is closed by itself when for so long none of its jobs was unfinished and none was added;
            0: never.
        rerun_of: id of the run that this one repeats, or finishes.
        fail_fast: when a job ends DEAD, everything else of the run is cancelled, running jobs included, but for
            handlers and jobs with a trigger of ``one_failed``, ``all_done`` or ``always``.
        kept: jobs of earlier runs that count as jobs of this one, which completed: their keys by id.
        kept_outputs: what those left for the jobs that follow them, a JSON object each, by id. RunInfo leaves it out.
    """

    params: dict[str, str] = field(default_factory=dict)
    budget: Budget | None = None
    agent_run_id: str = ""
    open: bool = False
    idle_s: float = 0.0
    rerun_of: str = ""
    fail_fast: bool = False
    kept: dict[str, str] = field(default_factory=dict)
    kept_outputs: dict[str, bytes] = field(default_factory=dict)


DEFAULT_OPTIONS: Final = RunOptions()
