"""A script that is forked from the warm interpreter cannot tell: it prints, leaves and ends as under `python -u`.

Every script of warm_cases.py is run three times in the same folder: forked, forked once more (its code is cached by
then), and by an interpreter of its own. What they printed, their exit codes and the files they left must be equal.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from titan_core.tasks.script_executor_handler import ScriptExecutorHandler
from titan_sdk.messages import JobSpec
from titan_test_suite.pytests.launched import Launched
from titan_test_suite.pytests.warm_cases import CASES, Case

SLOTS = 4
WITNESS = "WITNESS"
"""Variable that names a file, outside the script's folder, in which a script notes how its process was started."""
PRELUDE = (
    "__name__ == '__main__' and exec(\"with open('/proc/self/cmdline') as f: t = f.read()\\n"
    "with open(__import__('os').environ['WITNESS'], 'w') as f: f.write(t)\", {})\n"
)
ADDRESS = re.compile("0x[0-9a-f]{6,}")
CAN_TELL = os.path.exists("/proc/self/cmdline")


def interpreter(name: str) -> str | None:
    """The program itself behind a name, which may be a link or a script that chooses one; None when there is none."""
    path = shutil.which(name)
    if path is None:
        return None
    done = subprocess.run([path, "-c", "import sys; print(sys.executable)"], capture_output=True, text=True, timeout=30)
    return done.stdout.strip() if done.returncode == 0 else None


OTHERS = {minor: interpreter(f"python3.{minor}") for minor in range(10, 14) if sys.version_info[:2] != (3, minor)}
"""The other supported versions; None where there is none on PATH."""


def interpreters() -> Iterator[object]:
    """The one that runs the tests, and every other supported one that is here."""
    yield pytest.param(sys.executable, id="this")
    for minor, found in OTHERS.items():
        if found:
            yield pytest.param(found, id=f"3.{minor}")


@dataclass(frozen=True)
class Outcome:
    """Everything that can be seen of a run."""

    output: str
    exit_code: int | None
    reason: str
    files: dict[str, bytes]


@dataclass(frozen=True)
class Runs:
    forked: Outcome
    cached: Outcome
    fresh: Outcome
    was_forked: bool


@pytest.fixture(scope="module", params=interpreters())
def runs(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Runs]:
    """Every case's runs under one interpreter."""
    folder = tmp_path_factory.mktemp("warm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "executable", request.param)
        for name in [name for name in os.environ if name.startswith(("PYTHON", "LD_", "PYTEST"))]:
            patch.delenv(name)
        scripts = ScriptExecutorHandler()
        with Launched(folder, slots=SLOTS) as launched, ThreadPoolExecutor(SLOTS) as pool:
            launched.exited(launched.python("print('it works')", warm=True))
            free = list(range(SLOTS))

            def run(case: Case) -> Runs:
                slot = free.pop()
                try:
                    return run_all_ways(launched, scripts, slot, case)
                finally:
                    free.append(slot)

            # What takes long goes first, so that the threads end together.
            ordered = sorted(CASES, key=lambda case: not case.slow)
            return {case.name: done for case, done in zip(ordered, pool.map(run, ordered), strict=True)}


def run_all_ways(launched: Launched, scripts: ScriptExecutorHandler, slot: int, case: Case) -> Runs:
    forked, how = run_once(launched, scripts, slot, case, fresh=False)
    cached, _ = run_once(launched, scripts, slot, case, fresh=False)
    fresh, _ = run_once(launched, scripts, slot, case, fresh=True)
    return Runs(forked, cached, fresh, "launcher_main.py" in how)


def run_once(
    launched: Launched, scripts: ScriptExecutorHandler, slot: int, case: Case, *, fresh: bool
) -> tuple[Outcome, str]:
    folder = launched.folder / case.name
    cwd = folder / "cwd"
    cwd.mkdir(parents=True)
    script = folder / case.file
    prelude = PRELUDE if case.witness and CAN_TELL else ""
    script.write_bytes(prelude.encode() + case.source)
    for name, text in case.siblings.items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    witness = launched.folder / f"{case.name}.witness"
    lease = launched.lease()
    env = {**os.environ, WITNESS: str(witness), **case.env}
    for name in case.without:
        env.pop(name, None)
    request = scripts.launch_request(
        lease,
        JobSpec(id="job", file=case.file, sha256="", size=0, args=case.args, fresh=fresh, timeout_s=60.0),
        script=script,
        cwd=cwd,
        log=launched.log_path(lease),
        env=env,
    )
    launched.run(request, slot)
    exited = launched.exited(lease, 90.0)
    files = {
        str(path.relative_to(folder)): path.read_bytes() if path.suffix != ".pyc" else b""
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }
    shutil.rmtree(folder)
    how = witness.read_text() if witness.exists() else ""
    witness.unlink(missing_ok=True)
    text = "" if case.loose else ADDRESS.sub("0x", launched.log(lease).decode("utf-8", "surrogateescape"))
    if case.unordered:
        text = "\n".join(sorted(text.split("\n")))
    return Outcome(text, exited.exit_code, f"{exited.cause} {exited.reason}", files), how


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_script_cannot_tell(runs: dict[str, Runs], case: Case) -> None:
    got = runs[case.name]
    assert got.forked == got.fresh
    assert got.cached == got.fresh
    for text in case.shows:
        assert case.loose or text in got.fresh.output, "the script did not do what it is there for"
    if case.exit_code is not None:
        assert got.fresh.exit_code == case.exit_code
    if case.witness and CAN_TELL:
        assert got.was_forked is case.forked


@pytest.mark.parametrize("minor", OTHERS)
def test_every_supported_python_is_tried(minor: int) -> None:
    if OTHERS[minor] is None:
        pytest.skip(f"there is no python3.{minor} on PATH: its scripts were not compared")
