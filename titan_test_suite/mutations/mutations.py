"""Ways to break the engine on purpose, each with the tests that must notice.

A mutation replaces a piece of one file, which must be there exactly once: when the code has moved on, the check fails
and says so, and the mutation has to be written anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

UNIT: Final = "titan_test_suite/pytests/unit/"
INTEGRATION: Final = "titan_test_suite/pytests/integration/"
CHAOS: Final = "titan_test_suite/pytests/chaos/"


@dataclass(frozen=True)
class Mutation:
    """One change for the worse.

    Attributes:
        breaks: what does not hold any more, for people.
        path: of the file, from the root of the repository.
        before, after: the piece that is replaced, and by what.
        tests: for pytest; at least one of them has to fail.
    """

    name: str
    breaks: str
    path: str
    before: str
    after: str
    tests: tuple[str, ...]


MUTATIONS: Final[tuple[Mutation, ...]] = (
    Mutation(
        "no-fsync",
        "a commit is on the disk before anybody is told of it",
        "titan_core/storage/sqlite_store.py",
        '"synchronous = FULL",',
        '"synchronous = OFF",',
        (f"{CHAOS}test_fsync.py::test_an_answer_follows_its_fsync",),
    ),
    Mutation(
        "answer-before-commit",
        "nothing is delivered before it is committed",
        "titan_core/scheduling/dispatcher.py",
        "            if records:\n                _hand_out(entries, self._commit(records))\n",
        "            for entry in entries:\n                self._deliver(entry)\n"
        "            if records:\n                self._commit(records)\n                continue\n",
        (f"{INTEGRATION}test_scheduler_engine.py::test_nothing_is_sent_or_answered_before_it_is_durable",),
    ),
    Mutation(
        "stale-report-believed",
        "only the holder of the current lease is believed",
        "titan_core/scheduling/core/attempt_reports.py",
        "if worker is None or job is None or not job.holds(lease):",
        "if worker is None or job is None:",
        (f"{UNIT}test_core_workers.py",),
    ),
    Mutation(
        "stale-boot-id",
        "the silence of an earlier process of a worker means nothing",
        "titan_core/scheduling/core/fleet.py",
        "if worker is None or worker.dead or worker.boot_id != event.boot_id:",
        "if worker is None or worker.dead:",
        (f"{UNIT}test_core_workers.py::test_silence_of_another_process_means_nothing",),
    ),
    Mutation(
        "due-time-not-passed",
        "a due time is decided once",
        "titan_core/scheduling/core/schedules.py",
        "self._set(schedule, replace(schedule.state, cursor=passed.newest))",
        "self._set(schedule, replace(schedule.state, cursor=passed.newest - 1))",
        (f"{UNIT}test_core_schedules.py::test_a_due_time_becomes_a_run_that_knows_what_it_is_for",),
    ),
    Mutation(
        "overlap-ignored",
        "an unfinished run keeps the next one back, as the schedule's policy says",
        "titan_core/scheduling/core/schedules.py",
        'if policy == "allow" or not state.active:',
        "if True:",
        (f"{UNIT}test_core_schedules.py::test_an_unfinished_run_is_up_to_the_overlap_policy",),
    ),
    Mutation(
        "clock-not-looked-at",
        "a wall clock that was set is noticed",
        "titan_core/scheduling/core/schedules.py",
        "wait_s = min(max((fire_at - now.wall) / 1000, 0.0), HORIZON_S)",
        "wait_s = max((fire_at - now.wall) / 1000, 0.0)",
        (f"{UNIT}test_core_schedules.py::test_a_clock_set_back_fires_nothing_twice_and_one_set_forward_is_a_misfire",),
    ),
    Mutation(
        "end-of-a-scheduled-run-missed",
        "what waits for the end of a run has its turn",
        "titan_core/scheduling/core/job_book.py",
        "            self.over.append(run)\n",
        "",
        (f"{UNIT}test_core_schedules.py::test_an_unfinished_run_is_up_to_the_overlap_policy",),
    ),
    Mutation(
        "repeated-hour-twice",
        "a time of the day that a clock shows twice is due once",
        "titan_sdk/timetable.py",
        'self._rhythm = expression.split()[1].startswith("*")',
        "self._rhythm = True",
        ("titan_test_suite/pytests/property/test_timetable.py::test_years_of_due_times",),
    ),
    Mutation(
        "slot-not-released",
        "a job that is over leaves its slot",
        "titan_core/tasks/job_runner.py",
        "            self._places(attempt.spec).append(attempt.slot)\n",
        "",
        (f"{INTEGRATION}test_worker_jobs.py::test_more_jobs_than_slots_all_run_with_four_at_a_time",),
    ),
    Mutation(
        "kill-without-the-group",
        "the whole tree of a job is ended",
        "titan_core/tasks/process_tree.py",
        "        members = descendants(os.getpid(), table, self._spare)\n        if self._group:\n",
        "        members = [p for p in table.values() if p.pid == self._group]\n        if not self._group:\n",
        (f"{INTEGRATION}test_worker_jobs.py::test_cancel_and_timeout_end_the_whole_tree",),
    ),
    Mutation(
        "edges-lost-on-recovery",
        "a restart brings the edges of a DAG back",
        "titan_core/scheduling/core/restoration.py",
        "    link(run.jobs)\n",
        "",
        (f"{UNIT}test_core_restore.py",),
    ),
    Mutation(
        "epoch-used-twice",
        "a lease epoch is never used again, after a restart neither",
        "titan_core/scheduling/core/scheduler_core.py",
        "book.run_seq, book.job_seq, self._lifecycle.epoch = sequences",
        "book.run_seq, book.job_seq, _ = sequences",
        (f"{UNIT}test_core_restore.py::test_sequences_go_on",),
    ),
    Mutation(
        "delay-from-submission",
        "a delay counts from when the job is unblocked",
        "titan_core/scheduling/core/lifecycle.py",
        "UNBLOCKED_LATER)\n            self._delay(job, job.spec.delay_ms / 1000, now)",
        "UNBLOCKED_LATER)\n"
        "            self._delay(job, max(0, job.run.row.submitted_at + job.spec.delay_ms - now.wall) / 1000, now)",
        (f"{UNIT}test_core_jobs.py::test_a_delay_counts_from_when_the_parents_are_done",),
    ),
    Mutation(
        "a-rejection-lets-it-run",
        "a rejected job never runs",
        "titan_core/scheduling/core/lifecycle.py",
        'if row.decision != "approved":',
        'if row.decision == "":',
        (f"{UNIT}test_core_gates.py::test_a_rejection_is_the_end_and_says_why",),
    ),
    Mutation(
        "a-repair-is-forgotten",
        "what a repaired job is from then on survives the master",
        "titan_core/scheduling/core/repairs.py",
        "        self._changes.respec(job)\n",
        "",
        (f"{UNIT}test_core_repairs.py::test_a_restart_at_every_step_changes_nothing",),
    ),
    Mutation(
        "a-repeated-pop-takes-another",
        "a repeated request gets the first answer",
        "titan_core/storage/kv_tables.py",
        "            if row is not None:\n                return decode_message(row[0], KvUpdated)\n",
        "",
        (f"{UNIT}test_kv_tables.py::test_a_repeated_request_gets_the_first_answer",),
    ),
    Mutation(
        "a-key-outlives-its-time",
        "what has expired is gone before it is removed",
        "titan_core/storage/kv_tables.py",
        "e.key = t.key AND e.at <= ?)",
        "e.key = t.key AND e.at < ? - 1000)",
        (f"{UNIT}test_kv_tables.py::test_what_has_expired_is_gone_before_it_is_removed",),
    ),
    Mutation(
        "skipped-is-success",
        "what waits for a skipped job is skipped too",
        "titan_core/scheduling/core/triggers.py",
        "return Verdict.SKIP if parent.state is JobState.SKIPPED else Verdict.DOOM",
        "return Verdict.WAIT if job.blockers else Verdict.START",
        (f"{UNIT}test_core_triggers.py::test_what_the_ends_of_two_parents_make_of_a_job",),
    ),
    Mutation(
        "retry-without-backoff",
        "a retry waits 1, 2, 4 s",
        "titan_core/scheduling/core/lifecycle.py",
        "            self._delay(job, self._pause(job), now)\n",
        "            self._delay(job, 0.0, now)\n",
        (f"{UNIT}test_core_jobs.py::test_three_retries_after_one_two_and_four_seconds_then_dead",),
    ),
    Mutation(
        "loss-charged",
        "the death of a worker charges no retry",
        "titan_core/scheduling/core/lifecycle.py",
        "        job.losses += 1\n",
        "        job.losses += 1\n        job.failures += 1\n",
        (f"{UNIT}test_core_workers.py::test_silence_moves_the_jobs_to_others_and_charges_no_retry",),
    ),
    Mutation(
        "crash-loop-never-forgotten",
        "a life of a minute makes the crashes before it forgotten",
        "titan_core/scheduling/core/crash_loops.py",
        ">= limits.service_calm_s * 1000:\n            break\n",
        ">= limits.service_calm_s * 1000:\n            continue\n",
        (f"{UNIT}test_core_services.py::test_a_life_of_a_minute_makes_the_past_forgotten",),
    ),
    Mutation(
        "crash-loop-never-moved",
        "after five ends in ten minutes another suitable worker is tried",
        "titan_core/scheduling/core/routing.py",
        " and last.worker_id not in shunned:",
        ":",
        (f"{UNIT}test_core_services.py::test_after_five_ends_another_worker_is_tried",),
    ),
    Mutation(
        "old-version-stopped-early",
        "the old version of a service is stopped when the new one is ready, not before",
        "titan_core/scheduling/core/service_control.py",
        "elif new.ready or not goes_on(old) or (",
        "elif new.attempt or not goes_on(old) or (",
        (f"{UNIT}test_core_services.py::test_the_old_version_is_stopped_when_the_new_one_is_ready",),
    ),
    Mutation(
        "stop-taken-back",
        "a restart does not take back a stop",
        "titan_core/scheduling/core/lifecycle.py",
        'if job.state is JobState.RUNNING and job.ending in ("", "restart"):',
        "if job.state is JobState.RUNNING:",
        (f"{UNIT}test_core_services.py::test_a_restart_does_not_take_back_a_stop",),
    ),
    Mutation(
        "capability-match-loosened",
        "all capabilities must be on one worker",
        "titan_core/model/worker.py",
        "if not need.capabilities <= self.offer:",
        "if not need.capabilities & self.offer:",
        (f"{UNIT}test_core_workers.py::test_all_capabilities_must_be_on_one_worker",),
    ),
    Mutation(
        "spool-removed-before-the-verdict",
        "a result is kept until the master has answered for it",
        "titan_core/tasks/attempt_reporter.py",
        "            dispatched.sending = True\n",
        "            dispatched.sending = True\n        self._spool.remove(dispatched.lease)\n",
        (f"{INTEGRATION}test_worker_link.py::test_a_result_outlives_its_worker_too",),
    ),
    Mutation(
        "dispatch-run-twice",
        "a dispatch that comes twice runs once",
        "titan_core/tasks/attempt_reporter.py",
        "            if lease in self._leases or lease in self._over:\n",
        "            if lease in self._leases:\n",
        (f"{UNIT}test_attempt_reporter.py",),
    ),
    Mutation(
        "answer-waited-for-in-vain",
        "a message that was lost on the way holds nothing up",
        "titan_sdk/in_flight.py",
        "return 0.0 if oldest is None else time.monotonic() - oldest",
        "return 0.0",
        (f"{CHAOS}test_link.py",),
    ),
    Mutation(
        "key-forgotten",
        "a submission repeated under its idempotency key makes no second run",
        "titan_core/scheduling/core/acceptance.py",
        "        run = self._book.submitted_as(event.idempotency_key)\n",
        "        run = None\n",
        (f"{CHAOS}test_submissions.py", f"{UNIT}test_core_jobs.py"),
    ),
    Mutation(
        "damage-not-looked-for",
        "a damaged database is refused",
        "titan_core/storage/sqlite_store.py",
        "                examine(self.path)\n",
        "                pass\n",
        (f"{UNIT}test_store_damage.py",),
    ),
    Mutation(
        "silent-worker-kept",
        "the jobs of a worker that fell silent go to another",
        "titan_core/scheduling/heart_beat_executor.py",
        "                if expires <= now:\n",
        "                if expires + 3600 <= now:\n",
        (f"{INTEGRATION}test_scheduler_engine.py::test_the_jobs_of_a_silent_worker_go_to_another",),
    ),
    Mutation(
        "budget-of-the-run-alone",
        "a budget bounds the descendants of a run too",
        "titan_core/scheduling/core/budgets.py",
        "        for bounded in kin.budgets() if kin is not None else ():",
        "        for bounded in [kin] if kin is not None and kin.bounded is kin else ():",
        (f"{UNIT}test_core_runs.py::test_a_budget_of_jobs_holds_for_the_whole_tree",),
    ),
    Mutation(
        "budget-by-the-wall-clock",
        "a wall clock that is set neither ends nor prolongs the wall time of a budget",
        "titan_core/scheduling/core/budgets.py",
        "        if abs(jump) < _JUMP_MS:",
        "        if abs(jump) < 1e12:",
        (f"{UNIT}test_core_runs.py::test_the_wall_time_of_a_tree_ends_it_whatever_happens_to_the_clock",),
    ),
    Mutation(
        "cancelled-jobs-go-on-submitting",
        "what is being cancelled submits nothing more",
        "titan_core/scheduling/core/acceptance.py",
        """if job is not None and (job.ending == "cancel" or job.state is JobState.CANCELLED):""",
        """if job is not None and job.state is JobState.CANCELLED:""",
        (f"{UNIT}test_core_runs.py::test_a_job_that_is_being_cancelled_starts_nothing_more",),
    ),
    Mutation(
        "ancestors-forgotten",
        "a tree is known as long as any of its runs is in memory",
        "titan_core/scheduling/core/lineage.py",
        "        while kin is not None and not kin.in_memory and not kin.children:",
        "        while kin is not None and not kin.in_memory:",
        (f"{UNIT}test_core_runs.py::test_a_tree_is_known_when_what_is_between_has_left_memory",),
    ),
    Mutation(
        "ancestors-not-loaded",
        "a run is loaded with those that it was submitted from",
        "titan_core/storage/sqlite_store.py",
        "            self._add_ancestors(db, wanted)\n",
        "",
        (f"{UNIT}test_sqlite_store.py::test_what_an_unfinished_run_came_from_is_loaded_with_it",),
    ),
    Mutation(
        "orphans-stay-open",
        "an open run is closed when the job that opened it has ended",
        "titan_core/scheduling/core/job_book.py",
        "                self._orphans += self._owned.pop(job.key, ())",
        "                self._owned.pop(job.key, ())",
        (f"{UNIT}test_core_runs.py::test_an_open_run_is_closed_when_the_job_that_made_it_has_ended",),
    ),
    Mutation(
        "settled-jobs-wake-nobody",
        "who waits for jobs of a run to settle is told at once",
        "titan_core/scheduling/settled_feed.py",
        "            if self._by_run:",
        "            if not self._by_run:",
        (f"{UNIT}test_settled_feed.py::test_a_waiter_is_woken_once_and_by_its_own_runs_alone",),
    ),
    Mutation(
        "settled-answers-lose-the-rest",
        "of more jobs than fit into an answer, the rest is told next",
        "titan_core/scheduling/settled_feed.py",
        "                    return Settled(place, tuple(found), more=True)",
        "                    return Settled(self._version, tuple(found))",
        (f"{UNIT}test_settled_feed.py::test_a_full_answer_goes_on_where_it_ended",),
    ),
)
