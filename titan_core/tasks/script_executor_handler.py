"""How a job's file is run: by its own extension, its ``#!`` line, or as the program it is."""

from __future__ import annotations

import os
import shutil
import site
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from titan_core.tasks.launch import DEFAULT_GRACE_S, DEFAULT_LOG_BYTES, LaunchRequest
from titan_sdk.errors import LaunchFailed
from titan_sdk.messages import JobSpec, Lease

_HEAD_BYTES: Final = 1024
"""Enough of a file to see what it is; a longer ``#!`` line than Linux takes (256) is refused as it would be there."""

_STARTUP_PREFIXES: Final = ("PYTHON", "LD_", "DYLD_", "LC_", "MALLOC_")
_STARTUP_NAMES: Final = ("LANG", "GLIBC_TUNABLES")
"""Read by an interpreter, its loader or its C library as it starts: a warm one cannot take them back."""

_PRELOAD_PREFIXES: Final = (
    "OMP_", "GOMP_", "KMP_", "OPENBLAS_", "GOTO_", "BLIS_", "MKL_", "VECLIB_", "NUMEXPR_", "NUMBA_",
    "NPY_", "NUMPY_", "CUDA_", "TF_", "TORCH_", "PYTORCH_", "ARROW_", "POLARS_", "MPL", "GRPC_", "OPENSSL_", "SSL_",
)  # fmt: skip
"""Read by libraries as they are imported, which for a preloaded one was before there was a job."""

_PROGRAM_MAGIC: Final = (b"\x7fELF", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe")
"""ELF, and Mach-O (64 and 32 bit, universal)."""


class ScriptExecutorHandler:
    """Turns a job into a LaunchRequest.

    ``environment`` is the one that the launcher was started with, ``preload`` what it imported. A Python script is
    forked from the warm interpreter unless the job says ``fresh``, names its own ``python``, or changes a variable
    that only a new interpreter would obey.
    """

    def __init__(self, *, environment: Mapping[str, str] | None = None, preload: Sequence[str] = ()) -> None:
        self._prefixes = _STARTUP_PREFIXES + (_PRELOAD_PREFIXES if preload else ())
        self._names = _STARTUP_NAMES + (("HOME",) if site.ENABLE_USER_SITE else ())
        self._environment = dict(os.environ if environment is None else environment)

    def launch_request(
        self,
        lease: Lease,
        spec: JobSpec,
        *,
        script: Path,
        cwd: Path,
        log: Path,
        env: Mapping[str, str],
        grace_s: float = DEFAULT_GRACE_S,
        log_bytes: int = DEFAULT_LOG_BYTES,
    ) -> LaunchRequest:
        """The request that runs ``spec`` with its file at ``script``. ``env`` is the job's whole environment.

        A program that is exec'd as it is gets its executable bits here.

        Raises:
            LaunchFailed: nothing here can run it; the text says why.
        """
        argv, python = self._argv(spec, str(script), cwd, env)
        return LaunchRequest(
            lease=lease,
            argv=(*argv, *spec.args),
            cwd=str(cwd),
            env=env,
            log_path=str(log),
            warm=python and not spec.fresh and not self._starts_otherwise(env),
            timeout_s=spec.timeout_s,
            memory=spec.memory,
            millicpus=round(spec.cpus * 1000),
            grace_s=grace_s,
            log_bytes=log_bytes,
        )

    def _argv(self, spec: JobSpec, script: str, cwd: Path, env: Mapping[str, str]) -> tuple[tuple[str, ...], bool]:
        """The command up to the job's own arguments, and whether the warm interpreter could stand in for it."""
        path = env.get("PATH", os.defpath)
        suffix = os.path.splitext(script)[1].lower()
        if suffix == ".py":
            if spec.python:
                return (_interpreter(spec.python, cwd, path), "-u", script), False
            return (sys.executable, "-u", script), True
        if suffix == ".jar":
            return (_java(path, env.get("JAVA_HOME")), "-jar", script), False
        head = _head(script)
        if head.startswith(b"#!"):
            return (*_shebang(head, script), script), False
        if suffix == ".sh":
            return ("/bin/sh", script), False
        if head.startswith(_PROGRAM_MAGIC):
            _make_executable(script)
            return (script,), False
        what = "is empty" if not head else "has no #! line and is not a program"
        raise LaunchFailed(
            f"{os.path.basename(script)} cannot be run: it is no .py, .sh or .jar, {what}; "
            "begin a script with a line like #!/usr/bin/env node"
        )

    def _starts_otherwise(self, env: Mapping[str, str]) -> bool:
        """Whether a new interpreter would not be what the warm one is."""
        names, prefixes = self._names, self._prefixes
        different = env.items() ^ self._environment.items()
        return any(name.startswith(prefixes) or name in names for name, _ in different)


def _head(script: str) -> bytes:
    try:
        fd = os.open(script, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.read(fd, _HEAD_BYTES)
        finally:
            os.close(fd)
    except OSError as error:
        raise LaunchFailed(f"{os.path.basename(script)} cannot be read: {error.strerror}") from None


def _interpreter(python: str, cwd: Path, path: str) -> str:
    """The interpreter a job named: a path (relative to its working directory), or a name to be found on PATH."""
    found = shutil.which(os.path.join(cwd, python) if os.path.dirname(python) else python, path=path)
    if found is None:
        raise LaunchFailed(f"the job wants the interpreter {python!r}, which this worker does not have")
    return os.path.abspath(found)


def _java(path: str, home: str | None) -> str:
    found = shutil.which("java", path=path) or (home and shutil.which("java", path=os.path.join(home, "bin")))
    if not found:
        raise LaunchFailed("a .jar needs java, which this worker does not have (neither on PATH nor in JAVA_HOME)")
    return os.path.abspath(found)


def _shebang(head: bytes, script: str) -> list[str]:
    """What the ``#!`` line says, split as the kernel splits it: the interpreter, and the rest as one argument."""
    line = head[2:].split(b"\n", 1)[0]
    if line.endswith(b"\r"):
        raise LaunchFailed(f"{os.path.basename(script)} has Windows line ends (CR LF), so its #! line names no program")
    words = os.fsdecode(line).strip(" \t").split(None, 1)
    if not words:
        raise LaunchFailed(f"{os.path.basename(script)} has an empty #! line")
    if not os.path.isabs(words[0]) or not os.access(words[0], os.X_OK):
        raise LaunchFailed(f"{os.path.basename(script)} asks for {words[0]}, which this worker does not have")
    return words


def _make_executable(script: str) -> None:
    try:
        os.chmod(script, os.stat(script).st_mode | 0o755)
    except OSError as error:
        raise LaunchFailed(f"{os.path.basename(script)} cannot be made executable: {error.strerror}") from None
