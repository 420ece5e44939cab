"""The virtual environment of the repository: made, filled with what is pinned, and remade when it is broken.

A stamp file inside it, written last, holds a hash of everything that says what belongs in it. While the stamp fits
and its Python starts, nothing is installed and nothing is asked of the network. Standard library only.
"""

from __future__ import annotations

import fcntl
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = "requirements-dev.txt"
EDITABLE = ("titan_sdk", ".")
"""Installed from the work tree, in this order, so that jobs and examples find them wherever they run."""
STAMP = "titan-dev.stamp"
OS_RELEASE = Path("/etc/os-release")
KEPT_LINES = 40
"""Of pip's output, shown when it fails."""


class SetupFailed(Exception):
    """The environment cannot be made; the text says what to do about it."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment for the repository at ``root``.

    Args:
        root: holds requirements-dev.txt and the distributions named by ``editable``.
        folder: where the virtual environment is, or will be.
        say: gets a line for people at every step.
    """

    root: Path
    folder: Path
    say: Callable[[str], None]
    editable: tuple[str, ...] = EDITABLE

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def wanted_stamp(self) -> str:
        """Changes with the pins, with the metadata of our distributions, and with the place of the repository."""
        digest = hashlib.sha256(str(self.root).encode())
        for name in (REQUIREMENTS, *(f"{folder}/setup.cfg" for folder in self.editable)):
            path = self.root / name
            digest.update(f"\0{name}\0".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def ready(self) -> bool:
        """Whether it is complete and up to date."""
        try:
            stamp = (self.folder / STAMP).read_text(encoding="ascii")
        except (OSError, UnicodeDecodeError):
            return False
        return stamp == self.wanted_stamp() and self._usable()

    def ensure(self) -> None:
        """Make it ready. Only one process at a time does so; others wait for it.

        Raises:
            SetupFailed: no ``venv`` in this Python, or pip failed (no network, a disk that is full).
        """
        if self.ready():
            return
        with self._locked():
            if self.ready():  # another process was faster
                return
            if not self._usable():
                self._make()
            (self.folder / STAMP).unlink(missing_ok=True)
            self._install()
            (self.folder / STAMP).write_text(self.wanted_stamp(), encoding="ascii")
            self.say("the environment is ready")

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """The lock is on the repository's folder itself: no file to leave behind, and gone with the process."""
        handle = os.open(self.root, os.O_RDONLY)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self.say("another titan-dev is setting up; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)

    def _usable(self) -> bool:
        """Whether there is an environment whose Python starts, is new enough and has a pip.

        It has none when the system's Python was replaced by a newer one, which looks for packages elsewhere.
        """
        if not self.folder.exists():
            return False
        check = "import sys, pip; sys.exit(sys.version_info < (3, 10) or sys.prefix == sys.base_prefix)"
        try:
            done = subprocess.run(
                [self.python, "-I", "-c", check], stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=60
            )
        except (OSError, subprocess.TimeoutExpired):
            return False
        return done.returncode == 0

    def _make(self) -> None:
        missing = [name for name in ("venv", "ensurepip") if importlib.util.find_spec(name) is None]
        if missing:
            raise SetupFailed(f"{sys.executable} lacks the module {missing[0]}; {_how_to_get_venv()}, then start again")
        if self.folder.exists():
            self.say(f"{self.folder} is broken or half made; removing it")
            shutil.rmtree(self.folder)
        version = ".".join(map(str, sys.version_info[:3]))
        self.say(f"making {self.folder} with Python {version}")
        self._run(
            [_base_python(), "-m", "venv", str(self.folder)],
            f"making a virtual environment failed; {_how_to_get_venv()}",
        )

    def _install(self) -> None:
        requirements = self.root / REQUIREMENTS
        lines = requirements.read_text(encoding="utf-8").splitlines()
        total = sum(1 for line in lines if line.strip() and not line.startswith(("#", "-")))
        self.say(f"installing the {total} packages pinned in {REQUIREMENTS} (a minute or two the first time)")
        pip = [str(self.python), "-m", "pip", "--disable-pip-version-check", "--no-input", "install"]
        failed = "installing failed; is the network there? Start again once it is, and it goes on from here"
        self._run([*pip, "--progress-bar", "off", "-r", str(requirements)], failed, counting=total)
        if self.editable:
            self.say(f"installing Titan itself: {', '.join(self.editable)}")
            targets = [item for folder in self.editable for item in ("-e", str(self.root / folder))]
            self._run(
                [*pip, "--quiet", "--no-deps", "--no-build-isolation", *targets], "installing Titan itself failed"
            )

    def _run(self, command: list[str], failure: str, counting: int = 0) -> None:
        """Run a step; its output is shown only when it fails. With ``counting`` a terminal sees how far it is."""
        environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONHOME", "PYTHONPATH")}
        tail: deque[str] = deque(maxlen=KEPT_LINES)
        live = counting > 0 and sys.stderr.isatty()
        count = 0
        with subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            cwd=self.root,
            env=environment,
        ) as process:
            assert process.stdout is not None
            for line in process.stdout:
                tail.append(line)
                if live and line.startswith(("Collecting ", "Requirement already satisfied: ")):
                    count = min(count + 1, counting)
                    name = line.removeprefix("Requirement already satisfied:").removeprefix("Collecting").split()[0]
                    sys.stderr.write(f"\r\x1b[K  {count}/{counting} {name[:60]}")
                    sys.stderr.flush()
        if live:
            sys.stderr.write("\r\x1b[K")
        if process.returncode:
            raise SetupFailed(f"{''.join(tail).rstrip()}\n{failure}")


def _base_python() -> str:
    """The interpreter below us: an environment made from within another one must not depend on that one."""
    return str(getattr(sys, "_base_executable", None) or sys.executable)


def _how_to_get_venv() -> str:
    """The command that brings Python's venv module on this system."""
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    try:
        system = OS_RELEASE.read_text(encoding="utf-8")
    except OSError:
        system = ""
    if "debian" in system or "ubuntu" in system:
        return f"install it with: sudo apt-get install python{version}-venv"
    return f"install the part of your system's Python {version} that has the module venv (often python3-venv)"
