"""Random histories of jobs that are asked about, fail and are repaired, on a worker that does nothing but work.

The machine of test_core_machine.py has everything that can happen to a cluster; this has little, and so gets far:
through retries, several repairs, decisions and restarts of the master in between. core_world checks every step.
"""

from __future__ import annotations

from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from titan_core.model.states import JobState
from titan_core.scheduling.core.repairs import is_repair
from titan_sdk.messages import ApproveSpec, FlowSpec, JobSpec, RepairSpec
from titan_test_suite.pytests.core_world import World, job

ASKED = st.none() | st.builds(
    ApproveSpec,
    message=st.just("?"),
    timeout_s=st.sampled_from((None, 3.0)),
    on_timeout=st.sampled_from(("approve", "reject")),
)
REPAIRED = st.builds(RepairSpec, file=st.just("fix.py"), max=st.integers(1, 3), approve=ASKED)
FLOWS = st.builds(FlowSpec, approve=st.none() | ASKED, repair=REPAIRED)
PROPOSALS: tuple[dict[str, Any] | None, ...] = (
    {"titan_repair": {"sha256": "b" * 64, "size": 1}},
    {"titan_repair": {"args": ["-x"]}},
    {"titan_repair": {"args": ["-y"], "env": {"A": "1"}}},
    {"titan_repair": []},
    None,
)
OUTCOMES = st.sampled_from(("failed", "failed", "completed", "timed_out"))
END = st.tuples(st.just("end"), st.integers(0, 9), OUTCOMES)
STEPS = st.one_of(
    END,
    END,
    END,
    st.tuples(st.just("decide"), st.integers(0, 9), st.sampled_from((True, True, True, False))),
    st.tuples(st.just("wait"), st.just(0), st.sampled_from((1.0, 4.0))),
    st.tuples(st.just("cancel"), st.sampled_from((0, 5)), st.none()),
    st.tuples(st.just("restart"), st.just(0), st.none()),
)


def in_state(world: World, state: JobState) -> list[str]:
    return [row.key for row in world.journal.in_state(state)]


def take(world: World, step: tuple[str, int, Any], proposal: dict[str, Any] | None) -> None:
    kind, number, value = step
    if kind == "wait":
        world.pass_time(value)
    elif kind == "restart":
        leases = tuple(world.lease(key) for key in in_state(world, JobState.RUNNING))
        world.restart()
        world.register("w1", slots=9, holding=leases)
    elif kind == "cancel":
        world.cancel(list(world.journal.jobs)[number % len(world.journal.jobs)])
    elif kind == "decide" and (held := world.core.approvals("", 99).approvals):
        world.decide(held[number % len(held)].key, value)
    elif kind == "end" and (running := in_state(world, JobState.RUNNING)):
        key = running[number % len(running)]
        if is_repair(world.journal.specs[key]) and number % 4:  # mostly they do their work
            world.end(key, "completed", outputs=proposal)
        else:
            world.end(key, value)


@settings(max_examples=200)
@given(
    flows=st.lists(st.none() | FLOWS, min_size=1, max_size=3),
    retries=st.sampled_from((0, 0, 1)),
    steps=st.lists(st.tuples(STEPS, st.sampled_from(PROPOSALS)), min_size=6, max_size=40),
)
def test_whatever_is_decided_and_proposed_every_job_comes_to_its_end(
    flows: list[FlowSpec | None], retries: int, steps: list[tuple[tuple[str, int, Any], dict[str, Any] | None]]
) -> None:
    world = World()
    world.register("w1", slots=9)
    specs: list[JobSpec] = []
    for number, flow in enumerate(flows):
        parents = [specs[-1].id] if specs and number % 2 else []
        specs.append(job(f"j{number}", *parents, sha256="a" * 64, size=1, retries=retries, flow=flow))
    world.submit(*specs)
    for step, proposal in steps:
        take(world, step, proposal)
    for row in world.journal.repairs.values():
        event(f"repair {row.state}")
    for _ in range(60):
        for held in world.core.approvals("", 99).approvals:
            world.decide(held.key, True)
        for key in in_state(world, JobState.RUNNING):
            world.end(key, "completed")
        world.pass_time(5.0)
    assert all(row.state.final for row in world.journal.jobs.values())
    for spec in specs:
        info = world.core.job_info(f"run1/{spec.id}")
        asked = spec.flow.repair.max if spec.flow is not None and spec.flow.repair is not None else 0
        assert len(info.repairs) <= asked and all(each.ended_at for each in info.repairs)
        applied = [each.change for each in info.repairs if each.state == "applied"]
        found = world.journal.specs[info.key]
        args = [change.args for change in applied if change is not None and change.args is not None]
        assert found.args == (args[-1] if args else ())
        assert (found.sha256 == "b" * 64) == any(change is not None and change.sha256 for change in applied)
