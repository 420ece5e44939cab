"""Control groups: limits that the kernel keeps a whole job to, where this process may make groups.

Version 2 where its folder is delegated to us (`Delegate=yes`), else version 1 where we may write, as root.

One of the launcher's own modules: see zygote.py for what these may import.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

CONTROLLERS = ("memory", "cpu")
_PERIOD_US = 100_000
_LEAST_QUOTA_US = 1_000
"""The kernel takes no less."""

Roots = dict[str, tuple[int, str]]
"""By controller: the version of its hierarchy, and the folder in which each job gets a folder of its own."""


def find_homes(mounts: str, own: str) -> Roots:
    """Where this process stands, by controller. ``mounts``, ``own``: of /proc/self/mounts and /proc/self/cgroup."""
    paths = {}
    for line in own.splitlines():
        _, names, path = line.split(":", 2)
        for name in names.split(","):  # version 2 has no names
            paths[name] = path
    found: Roots = {}
    for line in mounts.splitlines():
        _, point, kind, options = line.split(" ")[:4]
        if kind == "cgroup2" and "" in paths:
            home = os.path.normpath(point + paths[""])
            available = _read(f"{home}/cgroup.controllers").split()
            found.update({name: (2, home) for name in CONTROLLERS if name in available})
        elif kind == "cgroup":
            for name in CONTROLLERS:
                if name in options.split(",") and name in paths:
                    found.setdefault(name, (1, os.path.normpath(point + paths[name])))
    return found


def make_roots(name: str, homes: Roots | None = None) -> Roots:
    """Folders for the groups of jobs, for each controller that permits it; what an earlier process left there is ended.

    ``name`` is the worker's. The folder has the process's number too, so that one that nobody uses any more is told.

    Under version 2 a folder whose groups are limited may hold no process itself: ours moves to a folder below it.
    """
    if homes is None:
        homes = find_homes(_read("/proc/self/mounts"), _read("/proc/self/cgroup"))
    roots: Roots = {}
    for controller, (version, home) in homes.items():
        root = f"{home}/{name}-{os.getpid()}"
        try:
            _clear(home, name)
            os.makedirs(root, exist_ok=True)
            if version == 2:
                _delegate(home, root, controller)
            if os.path.exists(f"{root}/{_limit_file(version, controller)}"):
                roots[controller] = (version, root)
        except OSError:
            pass
        if controller not in roots:
            remove_roots({controller: (version, root)})
    return roots


def remove_roots(roots: Mapping[str, tuple[int, str]]) -> None:
    """Give up the folders; those that still hold something stay."""
    for version, root in roots.values():
        if version == 2 and os.path.isdir(f"{root}/worker"):
            try:
                _write(f"{os.path.dirname(root)}/cgroup.procs", "0")
            except OSError:
                pass
            _remove(f"{root}/worker")
        _remove(root)


class JobGroup:
    """The group of one job, or one in each hierarchy that limits it.

    Args:
        roots: as make_roots found them. name: unique among them. memory: bytes of all its processes together;
            millicpus: thousandths of a core; of both, 0 is no limit.
    """

    def __init__(self, roots: Mapping[str, tuple[int, str]], name: str, memory: int, millicpus: int) -> None:
        self._folders: dict[str, int] = {}
        self.memory = memory
        try:
            if memory and "memory" in roots:
                self._limit_memory(*roots["memory"], name)
            if millicpus and "cpu" in roots:
                self._limit_cpu(*roots["cpu"], name, max(millicpus * _PERIOD_US // 1000, _LEAST_QUOTA_US))
        except OSError:
            self.remove()
            raise

    def _make(self, version: int, root: str, name: str) -> str:
        folder = f"{root}/{name}"
        if folder not in self._folders:
            os.mkdir(folder)
            self._folders[folder] = version
        return folder

    def _limit_memory(self, version: int, root: str, name: str) -> None:
        folder = self._make(version, root, name)
        _write(f"{folder}/{_limit_file(version, 'memory')}", str(self.memory))
        further = {"memory.swap.max": "0", "memory.oom.group": "1"} if version == 2 else {}
        for file, text in further.items():  # which not every kernel has
            if os.path.exists(f"{folder}/{file}"):
                _write(f"{folder}/{file}", text)

    def _limit_cpu(self, version: int, root: str, name: str, quota_us: int) -> None:
        folder = self._make(version, root, name)
        if version == 2:
            _write(f"{folder}/cpu.max", f"{quota_us} {_PERIOD_US}")
        else:
            _write(f"{folder}/cpu.cfs_period_us", str(_PERIOD_US))
            _write(f"{folder}/cpu.cfs_quota_us", str(quota_us))

    def add(self, pid: int) -> None:
        """Have a process in it (0: this one), with all that it starts from now on.

        One that has ended does no harm, nor does a kernel that refuses: the other limits make up for that.
        """
        for folder in self._folders:
            try:
                _write(f"{folder}/cgroup.procs", str(pid))
            except OSError:  # this may be the forked child, which must not go on as a second supervisor
                pass

    def kill(self) -> None:
        """SIGKILL to all in it at once, where the kernel can do that."""
        for folder in self._folders:
            if os.path.exists(f"{folder}/cgroup.kill"):
                try:
                    _write(f"{folder}/cgroup.kill", "1")
                except OSError:
                    pass

    def out_of_memory(self) -> bool:
        """Whether the kernel has ended a process of it because its memory was used up."""
        lines = (
            line.split()
            for folder in self._folders
            for file in ("memory.events", "memory.oom_control")
            for line in _read(f"{folder}/{file}").splitlines()
        )
        return any(words[0] == "oom_kill" and words[1] != "0" for words in lines)

    def remove(self) -> None:
        """When all its processes are gone."""
        for folder in self._folders:
            _remove(folder)


def _delegate(home: str, root: str, controller: str) -> None:
    """Let groups below ``root`` be limited. Raises OSError when processes that are not ours are in the way."""
    try:
        _write(f"{home}/cgroup.subtree_control", f"+{controller}")
    except OSError:
        os.makedirs(f"{root}/worker", exist_ok=True)
        _write(f"{root}/worker/cgroup.procs", "0")
        _write(f"{home}/cgroup.subtree_control", f"+{controller}")
    _write(f"{root}/cgroup.subtree_control", f"+{controller}")


def _clear(home: str, name: str) -> None:
    """Remove the folders of processes that are gone; what is left in those of ``name`` is ended first."""
    for other in os.listdir(home):
        whose, _, pid = other.rpartition("-")
        if not whose.startswith("titan-") or not pid.isdecimal() or os.path.exists(f"/proc/{pid}"):
            continue
        if whose == name:
            _end_leftovers(f"{home}/{other}")
        _remove(f"{home}/{other}/worker")
        _remove(f"{home}/{other}")


def _end_leftovers(root: str) -> None:
    for name in os.listdir(root):
        folder = f"{root}/{name}"
        if name != "worker" and os.path.isdir(folder):
            if os.path.exists(f"{folder}/cgroup.kill"):
                _write(f"{folder}/cgroup.kill", "1")
            _remove(folder)


def _remove(folder: str) -> None:
    """Unless it still holds something; then the next start of the worker tries again."""
    try:
        os.rmdir(folder)
    except OSError:
        pass


def _limit_file(version: int, controller: str) -> str:
    if controller == "memory":
        return "memory.max" if version == 2 else "memory.limit_in_bytes"
    return "cpu.max" if version == 2 else "cpu.cfs_quota_us"


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
