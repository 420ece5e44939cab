"""The launcher with its real processes, and no worker around it: what it tells, and what dies with whom."""

from __future__ import annotations

import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from titan_core.tasks.launch import TAIL_BYTES, Exited, Output, Started
from titan_core.tasks.launcher_wire import Decoder, encode
from titan_core.tasks.process_registry import MARK
from titan_test_suite.pytests.cluster import wait_until
from titan_test_suite.pytests.launched import Launched

SLEEPS = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"

FAMILY = """
import os, subprocess, sys, time
WAITS = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)"
pids = [os.getpid()]
pids.append(subprocess.Popen([sys.executable, "-c", WAITS]).pid)
pids.append(subprocess.Popen([sys.executable, "-c", WAITS], start_new_session=True, env={}).pid)
read, write = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:  # a daemon that nobody exec'd
        os.write(write, b"%d\\n" % os.getpid())
        os.close(write)
        time.sleep(600)
    os._exit(0)
os.wait()
pids.append(int(os.read(read, 100)))
print(*pids, "up", flush=True)
time.sleep(600)
"""
"""A job with a child, a child in a session and an environment of its own, and a daemon; prints their pids."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launched]:
    """One launcher of one slot for the tests that leave it as it was."""
    with Launched(tmp_path_factory.mktemp("launcher")) as launched:
        launched.exited(launched.shell("exit 0"))
        yield launched


@pytest.fixture
def launched(tmp_path: Path) -> Iterator[Launched]:
    """A launcher of two slots of the test's own."""
    with Launched(tmp_path, slots=2) as launched:
        yield launched


def lives(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def family(launched: Launched, slot: int = 0, *, warm: bool = True, **fields):
    """A running job with descendants of every kind: its lease and all their pids."""
    lease = launched.python(FAMILY, slot=slot, warm=warm, **fields)
    launched.printed(lease, b"up\n")
    pids = [int(word) for word in launched.log(lease).split()[:-1]]
    assert len(pids) == 4 and all(map(lives, pids))
    return lease, pids


def assert_gone_at_exit(launched: Launched, lease, pids: list[int], deadline: float = 20.0) -> Exited:
    """Once it has Exited, which is the promise, nothing of the job lives."""
    exited = launched.exited(lease, deadline)
    assert not [pid for pid in pids if lives(pid)]
    return exited


def assert_usable(launched: Launched, slots: int = 2) -> None:
    """Every slot runs another job."""
    leases = [launched.python("print('usable')", slot=slot) for slot in range(slots)]
    for lease in leases:
        assert launched.exited(lease).exit_code == 0
        assert launched.log(lease) == b"usable\n"


# --- one job ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [True, False])
@pytest.mark.parametrize(
    ("source", "code"),
    [("", 0), ("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", -9), ("1 / 0", 1)],
    ids=["0", "3", "killed", "traceback"],
)
def test_exit_codes(shared: Launched, warm: bool, source: str, code: int) -> None:
    exited = shared.exited(shared.python(source, warm=warm))
    assert (exited.exit_code, exited.cause, exited.reason) == (code, "exit", "")
    assert 0 < exited.started_at <= exited.ended_at


def test_events_come_in_order_and_tell_of_the_log(shared: Launched, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    lease = shared.python(
        f"import os, pathlib, time\nos.write(1, b'one\\n')\n"
        f"while not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.01)\nprint('two')"
    )
    started = shared.started(lease)
    wait_until(lambda: shared.output_sizes(lease))
    assert psutil.Process(started.pid).ppid() != os.getpid()
    gate.touch()
    exited = shared.exited(lease)
    kinds = [type(event) for event in shared.events(lease)]
    assert kinds[0] is Started and kinds[-1] is Exited and set(kinds[1:-1]) == {Output}
    assert [event.lease for event in shared.events(lease)] == [lease] * len(kinds)
    sizes = shared.output_sizes(lease)
    assert sizes == sorted(sizes) and sizes[0] == 4
    assert (exited.log_size, exited.log_tail, exited.log_tail_offset) == (8, b"one\ntwo\n", 0)
    assert shared.log(lease) == b"one\ntwo\n"
    assert started.started_at == exited.started_at


def test_the_tail_of_a_long_log_comes_with_the_end(shared: Launched) -> None:
    exited = shared.exited(shared.python("for n in range(50_000): print(n)"))
    whole = b"".join(b"%d\n" % n for n in range(50_000))
    assert (exited.log_size, exited.log_tail_offset) == (len(whole), len(whole) - TAIL_BYTES)
    assert exited.log_tail == whole[-TAIL_BYTES:]


@pytest.mark.parametrize("warm", [True, False])
def test_a_job_has_three_descriptors_and_a_session_of_its_own(shared: Launched, warm: bool) -> None:
    source = """
import os
print(sorted(os.listdir('/proc/self/fd'), key=int), os.getsid(0) == os.getpgrp() == os.getpid())
for fd in (0, 1, 2): print(os.readlink(f'/proc/self/fd/{fd}').partition(':')[0])
"""
    lease = shared.python(source, warm=warm)
    shared.exited(lease)
    # The fourth is the one that listdir has opened.
    assert shared.log(lease) == b"['0', '1', '2', '3'] True\n/dev/null\npipe\npipe\n"


@pytest.mark.parametrize("slot", [0, 1])
def test_no_descriptor_of_a_replaced_supervisor_or_launcher_reaches_a_job(launched: Launched, slot: int) -> None:
    for victim in ("supervisor", "launcher"):
        lease = launched.python(SLEEPS, slot=slot)
        launched.printed(lease, b"up")
        (launched.supervisor_of(lease) if victim == "supervisor" else launched.process).kill()
        launched.exited(lease)
        for warm in (True, False):
            lease = launched.python("import os; print(len(os.listdir('/proc/self/fd')))", slot=slot, warm=warm)
            launched.exited(lease)
            assert launched.log(lease) == b"4\n"


def test_end_is_gentle_first(shared: Launched) -> None:
    source = """
import signal, sys, time
def leave(*_): print('leaving'); sys.exit(7)
signal.signal(signal.SIGTERM, leave)
print('up', flush=True)
time.sleep(600)
"""
    lease = shared.python(source)
    shared.printed(lease, b"up\n")
    shared.end(lease, "for a test", 20.0)
    exited = shared.exited(lease)
    assert (exited.exit_code, exited.cause, exited.reason) == (7, "ended", "for a test")
    assert exited.log_tail == b"up\nleaving\n"


def test_end_is_stern_after_the_grace(shared: Launched) -> None:
    lease = shared.python(STUBBORN)
    shared.printed(lease, b"up")
    shared.end(lease, "first", 60.0)
    shared.end(lease, "second", 0.2)
    exited = shared.exited(lease, 10.0)
    assert (exited.exit_code, exited.cause, exited.reason) == (-9, "ended", "first")


def test_an_end_asked_for_at_once_is_heeded_at_once(shared: Launched) -> None:
    """Also by a process that has just been forked, whose parent ignores SIGTERM."""
    for _ in range(20):
        lease = shared.python("import time; time.sleep(600)")
        shared.end(lease, grace_s=60.0)
        assert shared.exited(lease, 10.0).exit_code == -15


def test_end_wakes_what_is_stopped(shared: Launched) -> None:
    lease = shared.python("import os; print('up', flush=True); os.kill(os.getpid(), 19)")
    shared.printed(lease, b"up")
    wait_until(lambda: psutil.Process(shared.started(lease).pid).status() == psutil.STATUS_STOPPED)
    shared.end(lease, grace_s=20.0)
    assert shared.exited(lease, 10.0).exit_code == -15


def test_end_takes_the_whole_tree(shared: Launched) -> None:
    lease, pids = family(shared)
    shared.end(lease, grace_s=0.2)
    assert assert_gone_at_exit(shared, lease, pids).cause == "ended"


def test_an_end_meant_for_the_job_before_does_not_reach_this_one(shared: Launched) -> None:
    before = shared.shell("exit 0")
    shared.exited(before)
    lease = shared.python(STUBBORN)
    shared.end(before, grace_s=0.0)
    shared.printed(lease, b"up")
    shared.end(before, grace_s=0.0)
    shared.end(lease, "this one", 0.0)
    assert shared.exited(lease).reason == "this one"


def test_end_before_the_start(tmp_path: Path) -> None:
    """The launcher is not ready for a moment yet: the request to end comes right behind the one to run."""
    with Launched(tmp_path) as launched:
        lease = launched.python("import time; time.sleep(600)")
        launched.end(lease, "changed my mind", 0.0)
        exited = launched.exited(lease)
        assert (exited.cause, exited.reason) == ("ended", "changed my mind")
        assert_usable(launched, 1)


def test_end_of_a_job_that_waits_for_another_supervisor(launched: Launched) -> None:
    """It is started late, and ended at once."""
    launched.exited(launched.shell("exit 0"))
    zygote = launched.process
    zygote.suspend()
    children = zygote.children()
    for child in children:
        child.kill()
    wait_until(lambda: not any(lives(child.pid) for child in children))
    lease = launched.python("import time; time.sleep(600)")
    launched.end(lease, "late", 0.0)
    zygote.resume()
    assert launched.exited(lease).cause in ("ended", "supervisor_lost")
    assert_usable(launched)


def test_timeout(shared: Launched) -> None:
    lease, pids = family(shared, timeout_s=3.0, grace_s=0.2)
    exited = assert_gone_at_exit(shared, lease, pids)
    assert (exited.cause, exited.reason) == ("timeout", "ran longer than 3 s")
    assert exited.ended_at - exited.started_at >= 3000


def test_what_a_job_leaves_in_the_background_does_not_hold_its_end(shared: Launched) -> None:
    lease = shared.shell("sleep 600 & echo $!; exec 2>/dev/null; (setsid sleep 601 &); echo done")
    begin = time.monotonic()
    exited = shared.exited(lease)
    assert time.monotonic() - begin < 300, "those in the background would sleep for ten minutes"
    assert (exited.exit_code, exited.cause) == (0, "exit")
    background = int(exited.log_tail.split()[0])
    assert exited.log_tail == b"%d\ndone\n" % background
    assert not lives(background)
    assert not [p for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "601"]]


def test_what_writes_after_the_end_of_its_job_is_in_the_log(shared: Launched) -> None:
    lease = shared.shell("(sleep 0.1; echo late) & echo soon")
    assert shared.exited(lease).log_tail == b"soon\nlate\n"


# --- what cannot be started -------------------------------------------------------------------------------------------


def test_launch_errors_say_why_and_leave_the_slot_usable(shared: Launched, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_text("not a program")
    requests = {
        "working directory": shared.request(("/bin/true",), cwd=tmp_path / "absent"),
        "its log": shared.request(("/bin/true",), log_path=tmp_path / "no" / "log"),
        "/no/such/program": shared.request(("/no/such/program",)),
        f"{plain} cannot be started": shared.request((str(plain),)),
        "null": shared.request(("/bin/true", "a\0b")),
        "log": shared.request(("/bin/true",), log_path=tmp_path),
    }
    for text, request in requests.items():
        exited = shared.exited(shared.run(request))
        assert (exited.exit_code, exited.cause, exited.started_at) == (None, "launch_error", 0)
        assert text in exited.reason
        assert [type(event) for event in shared.events(request.lease)] == [Exited]
    assert_usable(shared, 1)


def test_a_warm_script_that_is_gone_ends_as_an_interpreter_would(shared: Launched) -> None:
    lease = shared.run(shared.request((sys.executable, "-u", "/no/such/script.py"), warm=True))
    exited = shared.exited(lease)
    assert (exited.exit_code, exited.cause) == (2, "exit")
    assert b"can't open file" in exited.log_tail


# --- floods -----------------------------------------------------------------------------------------------------------


def test_a_flood_of_output_is_complete_and_takes_no_memory(shared: Launched) -> None:
    size = 100 * 1024 * 1024
    source = f"import os\nblock = bytes(range(256)) * 256\nfor _ in range({size} // len(block)): os.write(1, block)"
    warm_up = shared.python("import time; time.sleep(600)")
    supervisor = shared.supervisor_of(warm_up)
    shared.end(warm_up, grace_s=0.0)
    shared.exited(warm_up)
    before = supervisor.memory_info().rss
    lease = shared.python(source)
    exited = shared.exited(lease, 60.0)
    assert (exited.exit_code, exited.log_size) == (0, size)
    assert supervisor.memory_info().rss - before < 8 * 1024 * 1024
    with shared.log_path(lease).open("rb") as log:
        block = bytes(range(256)) * 256
        while chunk := log.read(len(block)):
            assert chunk == block
    assert len(shared.output_sizes(lease)) < 500, "not one event for every piece"
    shared.log_path(lease).unlink()


def test_five_hundred_jobs_in_four_slots(tmp_path: Path) -> None:
    jobs, slots = 500, 4
    with Launched(tmp_path, slots=slots) as launched:
        waiting = list(range(jobs))
        leases = {}
        lanes: list = [None] * slots
        end = time.monotonic() + 60
        while waiting or any(lanes):
            assert time.monotonic() < end
            for slot, lease in enumerate(lanes):
                if lease is None or any(isinstance(event, Exited) for event in launched.events(lease)):
                    lanes[slot] = None
                    if waiting:
                        number = waiting.pop()
                        if number % 5:
                            lanes[slot] = launched.shell(f"echo {number}; exit {number % 7}", slot=slot)
                        else:
                            lanes[slot] = launched.python(f"print({number}); exit({number % 7})", slot=slot)
                        leases[number] = lanes[slot]
            if lanes[0] is not None:
                launched.exited(lanes[0])
        for number, lease in leases.items():
            events = launched.events(lease)
            assert [type(event) for event in events].count(Exited) == 1 and isinstance(events[-1], Exited)
            assert (events[-1].exit_code, launched.log(lease)) == (number % 7, b"%d\n" % number)
        assert len(launched.process.children(recursive=True)) == slots


def test_a_log_that_cannot_be_written_does_not_hold_the_job(shared: Launched) -> None:
    source = "import sys\nfor _ in range(200): sys.stdout.write('x' * 10_000)\nsys.exit(6)"
    lease = shared.python(source, log_path="/dev/full")
    exited = shared.exited(lease)
    assert (exited.exit_code, exited.log_size) == (6, 0)
    assert "log could not be written: No space left on device" in exited.reason


def test_a_limit_on_file_sizes_cuts_the_log_and_not_the_job(launched: Launched) -> None:
    first = launched.python("import time; time.sleep(600)")
    supervisor = launched.supervisor_of(first)
    launched.end(first, grace_s=0.0)
    launched.exited(first)
    resource.prlimit(supervisor.pid, resource.RLIMIT_FSIZE, (100_000, 100_000))
    lease = launched.shell("head -c 3000000 /dev/zero; exit 5")
    exited = launched.exited(lease)
    assert (exited.exit_code, exited.log_size) == (5, 100_000)
    assert "log could not be written" in exited.reason


# --- what dies with whom ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("warm", [True, False])
def test_a_killed_supervisor_takes_its_job_along(launched: Launched, warm: bool) -> None:
    lease, pids = family(launched, warm=warm)
    other = launched.python(SLEEPS, slot=1)
    launched.printed(other, b"up")
    launched.supervisor_of(lease).kill()
    exited = assert_gone_at_exit(launched, lease, pids)
    assert (exited.exit_code, exited.cause, exited.reason) == (None, "supervisor_lost", "its supervisor died")
    assert exited.log_tail == launched.log(lease) and exited.log_size == len(exited.log_tail)
    assert exited.started_at == launched.started(lease).started_at
    assert lives(launched.started(other).pid), "the other slot is not concerned"
    launched.end(other, grace_s=0.0, slot=1)
    assert launched.exited(other).cause == "ended"
    assert_usable(launched)


def test_supervisors_that_are_killed_again_and_again(launched: Launched) -> None:
    """The socket of a dying supervisor closes a moment before the launcher can reap it."""
    for _ in range(4):
        leases = [launched.shell("trap '' TERM; sleep 600 & echo $! up; wait", slot=slot) for slot in range(2)]
        for lease in leases:
            launched.printed(lease, b"up\n")
        for lease in leases:
            launched.supervisor_of(lease).kill()
        for lease in leases:
            pids = [launched.started(lease).pid, int(launched.log(lease).split()[0])]
            assert_gone_at_exit(launched, lease, pids)
    assert_usable(launched)


def test_the_place_of_a_supervisor_is_taken_when_it_has_been_reaped(launched: Launched) -> None:
    """Its socket is closed a moment before that, and what it ran can be seen only after it."""
    lease = launched.python(SLEEPS)
    launched.printed(lease, b"up\n")
    supervisor = launched.supervisor_of(lease)
    control = launched.launcher._control
    assert control is not None
    pairs = [socket.socketpair() for _ in range(2)]
    try:
        for (_, theirs), before in zip(pairs, (supervisor.pid, 0), strict=True):
            socket.send_fds(control, [encode("supervise", before)], [theirs.fileno()])
        (waiting, _), (other, _) = pairs
        other.settimeout(10)
        assert next(Decoder().feed(other.recv(4096)))[0] == "ready"
        waiting.setblocking(False)
        with pytest.raises(BlockingIOError):
            waiting.recv(1)
        supervisor.kill()
        waiting.settimeout(10)
        assert next(Decoder().feed(waiting.recv(4096)))[0] == "ready"
    finally:
        for pair in pairs:
            for end in pair:
                end.close()
    assert launched.exited(lease).cause == "supervisor_lost"


def test_a_killed_launcher_takes_all_jobs_along(launched: Launched) -> None:
    running = [family(launched, slot, grace_s=0.3) for slot in range(2)]
    before = launched.process.pid
    launched.process.kill()
    for lease, pids in running:
        assert assert_gone_at_exit(launched, lease, pids).cause == "supervisor_lost"
    assert_usable(launched)
    assert launched.process.pid != before


def test_a_launcher_killed_while_idle_is_replaced_and_a_job_given_meanwhile_runs(launched: Launched) -> None:
    assert_usable(launched)
    launched.process.kill()
    lease = launched.python("print('ran')")
    exited = launched.exited(lease)
    # It may have reached a supervisor that was about to leave.
    assert exited.cause == "supervisor_lost" or launched.log(lease) == b"ran\n"
    assert_usable(launched)


def test_launcher_and_supervisors_killed_at_once(launched: Launched) -> None:
    """Nobody is left who has the jobs as children: they are found by the mark, wherever they have gone."""
    running = [family(launched, 0), family(launched, 1, warm=False)]
    zygote = launched.process
    doomed = [zygote, *zygote.children()]
    for process in doomed:
        process.suspend()
    for process in doomed:
        process.kill()
    for lease, pids in running:
        exited = assert_gone_at_exit(launched, lease, pids)
        assert (exited.exit_code, exited.cause) == (None, "supervisor_lost")
    assert_usable(launched)


def test_a_frozen_supervisor_does_not_hold_the_other_slot(launched: Launched) -> None:
    lease = launched.python(SLEEPS)
    launched.printed(lease, b"up")
    supervisor = launched.supervisor_of(lease)
    supervisor.suspend()
    launched.end(lease, grace_s=0.0)
    other = launched.python("print('meanwhile')", slot=1)
    assert launched.exited(other).exit_code == 0
    supervisor.resume()
    assert launched.exited(lease).cause == "ended"


def test_the_mark_is_in_the_environment_of_whatever_is_forked_or_started(launched: Launched) -> None:
    lease, pids = family(launched, grace_s=0.2)
    mark = launched.registry.mark
    for pid in (launched.process.pid, launched.supervisor_of(lease).pid, pids[0], pids[1], pids[3]):
        assert psutil.Process(pid).environ()[MARK] == mark
    assert MARK not in psutil.Process(pids[2]).environ(), "it was started with an empty environment"
    assert set(pids) <= {process.pid for process in launched.registry.left()}


# --- preloading -------------------------------------------------------------------------------------------------------


def preloadable(folder: Path, monkeypatch: pytest.MonkeyPatch, **modules: str) -> None:
    """Modules that an interpreter finds, though not beside its script: those would have it exec'd."""
    folder = folder / "modules"
    folder.mkdir()
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    monkeypatch.setenv("PYTHONPATH", str(folder))


def test_preloaded_modules_are_there_and_the_ones_that_fail_are_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    preloadable(tmp_path, monkeypatch, good="import os\nPID = os.getpid()", bad="1 / 0", leaves="raise SystemExit(3)")
    with Launched(tmp_path, preload=["bad", "good", "leaves", "absent"]) as launched:
        lease = launched.python("import os, sys, good; print('good' in sys.modules, good.PID != os.getpid())")
        launched.exited(lease)
        assert launched.log(lease) == b"True True\n"
        wait_until(lambda: caplog.text.count("cannot be preloaded") == 3)
    for complaint in ("bad cannot be preloaded: ZeroDivisionError", "leaves cannot", "absent cannot"):
        assert complaint in caplog.text


def test_a_preload_that_crashes_the_interpreter_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    preloadable(tmp_path, monkeypatch, crashes="import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
    with Launched(tmp_path, slots=2, preload=["crashes"]) as launched:
        lease = launched.python("print('runs')")
        assert launched.exited(lease).cause == "exit", "it had not begun, so it is not lost"
        assert launched.log(lease) == b"runs\n"
        assert_usable(launched)
    assert "nothing is preloaded from now on (crashes)" in caplog.text


# --- the end ----------------------------------------------------------------------------------------------------------


def test_stop_ends_every_job_and_tells_nothing_of_it(tmp_path: Path) -> None:
    with Launched(tmp_path, slots=2) as launched:
        running = [family(launched, slot, grace_s=0.2) for slot in range(2)]
        zygote = launched.process
        doomed = [zygote, *zygote.children(), *(psutil.Process(pid) for _, pids in running for pid in pids)]
    assert not [process for process in doomed if lives(process.pid)]
    for lease, _ in running:
        assert not any(isinstance(event, Exited) for event in launched.events(lease))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_stop_with_a_launcher_that_is_dead_or_frozen(tmp_path: Path, number: int) -> None:
    launched = Launched(tmp_path, slots=2)
    with launched:
        _, pids = family(launched, grace_s=0.2)
        zygote = launched.process
        supervisors = zygote.children()
        zygote.send_signal(number)
        launched.launcher.stop(3.0)
    assert not [pid for pid in (zygote.pid, *pids, *(s.pid for s in supervisors)) if lives(pid)]


def test_stop_at_once_after_start(tmp_path: Path) -> None:
    for _ in range(3):
        with Launched(tmp_path, slots=4) as launched:
            zygote = launched.process
        assert not lives(zygote.pid)
