"""Which jobs of a run that has ended run again."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from titan_core.model.rows import JobRow, RunRow
from titan_core.model.states import JobState
from titan_core.protocol.services.reruns import RerunService, to_run_again
from titan_core.storage.store import StoredRun
from titan_sdk.errors import Conflict
from titan_sdk.messages import FlowSpec, JobSpec, Rerun, SubmitRun
from titan_test_suite.pytests.core_world import job, service

Ran = tuple[JobSpec, JobState]
DONE, DEAD, CANCELLED, SKIPPED = JobState.COMPLETED, JobState.DEAD, JobState.CANCELLED, JobState.SKIPPED


def rows(*ran: Ran, ready: str = "") -> list[tuple[JobSpec, JobRow]]:
    return [
        (spec, JobRow(f"r/{spec.id}", "r", spec.id, number, state, ready=spec.id == ready))
        for number, (spec, state) in enumerate(ran)
    ]


@pytest.mark.parametrize(
    ("ran", "expected"),
    [
        ([(job("a"), DONE), (job("b", "a"), DEAD), (job("c", "b"), DEAD)], {"b", "c"}),
        ([(job("a"), CANCELLED), (job("b"), SKIPPED), (job("c"), DONE)], {"a", "b"}),
        # What completed in spite of a failed parent may come out otherwise now.
        ([(job("a"), DEAD), (job("cleanup", "a"), DONE), (job("last", "cleanup"), DONE)], {"a", "cleanup", "last"}),
        # A stopped service is started again for those that need it, and only then; so is what that one needs.
        ([(service("db"), DONE), (service("api", "db"), DONE), (job("t", "api"), DEAD)], {"db", "api", "t"}),
        ([(service("db"), DONE), (job("u", "db"), DONE), (job("t"), DEAD)], {"t"}),
        # That is no reason to repeat what needed it and is done.
        ([(service("db"), DONE), (job("u", "db"), DONE), (job("t", "db"), DEAD)], {"db", "t"}),
    ],
)
def test_what_did_not_complete_and_what_depends_on_it(ran: list[Ran], expected: set[str]):
    assert to_run_again("r", rows(*ran)) == expected


def test_a_service_that_is_up_counts_as_done():
    ran = rows((service("db"), JobState.RUNNING), (job("t", "db"), DEAD), ready="db")
    assert to_run_again("r", ran) == {"t"}


#      a
#     / \
#    b   c
#     \ / \
#      d   e
DIAMOND = (job("a"), job("b", "a"), job("c", "a"), job("d", "b", "c"), job("e", "c"))


@pytest.mark.parametrize(
    ("completed", "named", "expected"),
    [
        ("ab", "c", "cde"),
        ("abce", "d", "d"),
        ("ac", "b", "bd"),  # e has failed too, and is left alone
        ("", "e", "abcde"),
        ("abcde", "b", "bd"),
    ],
)
def test_what_a_job_needs_and_what_waits_for_it(completed: str, named: str, expected: str):
    ran = rows(*((spec, DONE if spec.id in completed else DEAD) for spec in DIAMOND))
    assert to_run_again("r", ran, {named}) == set(expected)


def test_what_goes_on_elsewhere_does_not_matter_to_named_jobs():
    ran = rows((job("a"), DEAD), (job("b", "a"), DEAD), (job("c"), JobState.RUNNING))
    assert to_run_again("r", ran, {"a"}) == {"a", "b"}
    with pytest.raises(Conflict, match="c goes on"):
        to_run_again("r", ran, {"c"})


def test_what_goes_on_or_went_well_is_not_run_again():
    with pytest.raises(Conflict, match="run r has not ended: b goes on"):
        to_run_again("r", rows((job("a"), DEAD), (job("b"), JobState.PENDING)))
    with pytest.raises(Conflict, match="every job of run r completed"):
        to_run_again("r", rows((job("a"), DONE)))


@pytest.mark.parametrize(("failed", "named"), [(True, ()), (False, ()), (True, ("load.0",))])
def test_what_the_master_made_of_a_list_is_made_anew(failed: bool, named: tuple[str, ...]):
    load = job("load", flow=FlowSpec(each="[1]"))
    made = job("load.0", flow=FlowSpec(instance_of="load", item=b"1"))
    stored = StoredRun(RunRow("r", 1, "r", 0, "", "", ""), rows((load, DEAD), (made, DEAD)), [])
    asked: list[SubmitRun] = []
    store = SimpleNamespace(find_run=lambda name: stored)
    submissions = SimpleNamespace(submit=lambda request, done: asked.append(request))
    RerunService(store, submissions).rerun(Rerun(id="r", failed=failed, jobs=named), lambda answer: None)  # type: ignore[arg-type]
    assert [each.jobs for each in asked] == [[load]]
