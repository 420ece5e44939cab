"""Which processes there are, and signals to exactly the one that is meant.

A pid alone names nobody: it is used again once its process is gone. Here a process is its pid *and* the moment it
started, and a signal goes through a pidfd where the kernel has them.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    import signal as _signal
    from collections.abc import Collection
else:
    import _signal

_PS = "/bin/ps"


class Process:
    """One process as it was when the table was read.

    ``started`` is an opaque text that, with the pid, tells this process from every other one since the machine booted.
    ``group`` is its process group.
    """

    __slots__ = ("group", "parent", "pid", "started", "zombie")

    def __init__(self, pid: int, parent: int, group: int, started: str, zombie: bool) -> None:
        self.pid = pid
        self.parent = parent
        self.group = group
        self.started = started
        self.zombie = zombie


def all_processes() -> dict[int, Process]:
    """Every process that can be seen, by pid."""
    return from_proc() if os.path.exists("/proc/self/stat") else from_ps()


def find_process(pid: int) -> Process | None:
    """The process with this pid, or None when there is none."""
    return _read_proc(pid) if os.path.exists("/proc/self/stat") else from_ps().get(pid)


def descendants(root: int, table: dict[int, Process], spare: Collection[int] = ()) -> list[Process]:
    """Children, children's children and so on of ``root``, parents first; those in ``spare`` and below are left out."""
    children: dict[int, list[Process]] = {}
    for process in table.values():
        children.setdefault(process.parent, []).append(process)
    found: list[Process] = []
    seen = {root, *spare}
    waiting = [root]
    while waiting:
        for process in children.get(waiting.pop(), ()):
            if process.pid not in seen:
                seen.add(process.pid)
                found.append(process)
                waiting.append(process.pid)
    return found


def send_signals(process: Process, *numbers: int) -> bool:
    """Send signals, in order, to this very process. False when it is gone, or not ours to signal."""
    try:
        fd = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return False
    except (AttributeError, OSError):  # no pidfds here
        fd = -1
    try:
        now = find_process(process.pid)
        if now is None or now.started != process.started:
            return False
        for number in numbers:
            if fd >= 0:
                _signal.pidfd_send_signal(fd, number)
            else:
                os.kill(process.pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    finally:
        if fd >= 0:
            os.close(fd)
    return True


def from_proc() -> dict[int, Process]:
    """all_processes where there is a /proc."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdecimal():
            process = _read_proc(int(name))
            if process is not None:
                found[process.pid] = process
    return found


def _read_proc(pid: int) -> Process | None:
    try:
        fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        stat = os.read(fd, 4096)
    except OSError:  # it ended in between
        return None
    finally:
        os.close(fd)
    # The second field is the name in parentheses, which may hold anything; the last ")" ends it.
    fields = stat[stat.rfind(b")") + 2 :].split()
    return Process(pid, int(fields[1]), int(fields[2]), fields[19].decode(), fields[0] in (b"Z", b"X"))


def from_ps() -> dict[int, Process]:
    """all_processes by asking ps: slower, and start times have a resolution of one second."""
    read, write = os.pipe()
    try:
        try:
            pid = os.posix_spawn(
                _PS,
                [_PS, "-A", "-o", "pid=,ppid=,pgid=,stat=,lstart="],
                {"LC_ALL": "C", "PATH": os.defpath},
                file_actions=[(os.POSIX_SPAWN_DUP2, write, 1)],
            )
        finally:
            os.close(write)
        text = b""
        while piece := os.read(read, 65536):
            text += piece
        os.waitpid(pid, 0)
    finally:
        os.close(read)
    found = {}
    for line in text.decode("ascii", "replace").splitlines():
        fields = line.split(None, 4)
        if len(fields) == 5 and int(fields[0]) != pid:
            found[int(fields[0])] = Process(
                int(fields[0]), int(fields[1]), int(fields[2]), fields[4], fields[3].startswith("Z")
            )
    return found
