"""``titan-dev test``: ruff, mypy and pytest, one after the other. What fails is named at the end."""

from __future__ import annotations

import argparse
import os
import secrets
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence

from titan_dev.browser import ensure_browser
from titan_dev.environment import ROOT

TAKES_MORE = True
"""Further arguments go to pytest."""

CHECKS: tuple[tuple[str, ...], ...] = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
)
CHAOS_ROUNDS = 10
"""Trials of each fault in the long profile: some twenty minutes."""
NO_TESTS = 5
"""pytest's exit code when it ran none."""
SIDE_BY_SIDE = ("-n", "2", "--dist", "loadfile")
"""Most tests wait for processes rather than compute: two at a time take little more than half as long on two cores."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.usage = "titan-dev test [--chaos] [--chaos-rounds N] [--long] [--only-pytest] [pytest arguments]"
    parser.add_argument("--chaos", action="store_true", help="run only the tests that kill real processes")
    parser.add_argument(
        "--chaos-rounds", type=int, metavar="N", help=f"trials of each fault (with --chaos {CHAOS_ROUNDS}, else 1)"
    )
    parser.add_argument("--long", action="store_true", help="property tests with many more examples")
    parser.add_argument("--only-pytest", action="store_true", help="leave ruff and mypy out")


def run(arguments: argparse.Namespace, rest: Sequence[str]) -> int:
    """0 when everything passed. All checks are run, whatever the earlier ones said; pytest comes last."""
    environment = dict(os.environ)
    if arguments.long:
        environment["HYPOTHESIS_PROFILE"] = "long"
    rounds = arguments.chaos_rounds or (CHAOS_ROUNDS if arguments.chaos else 0)
    if rounds and (arguments.chaos_rounds or "TITAN_CHAOS_ROUNDS" not in environment):
        environment["TITAN_CHAOS_ROUNDS"] = str(rounds)
    environment.setdefault("TITAN_CHAOS_SEED", str(secrets.randbelow(1 << 32)))  # one for all processes of the tests
    chaos = ["titan_test_suite/pytests/chaos", "-m", "chaos"] if arguments.chaos else SIDE_BY_SIDE
    commands = [] if arguments.only_pytest or arguments.chaos else list(CHECKS)
    commands.append(("pytest", *chaos, *rest))
    if not arguments.chaos:
        ensure_browser(lambda text: print(f"titan-dev: {text}", file=sys.stderr, flush=True))
    failed = [command for command in commands if not _passes(command, environment)]
    for command in failed:
        print(f"titan-dev: failed: {shlex.join(command)}", file=sys.stderr)
    return 1 if failed else 0


def _passes(command: Sequence[str], environment: dict[str, str]) -> bool:
    print(f"$ {shlex.join(command)}", flush=True)
    start = time.monotonic()
    try:
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=environment, check=False)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    print(f"  {time.monotonic() - start:.1f} s", flush=True)
    if command[0] == "pytest" and done.returncode == NO_TESTS:
        print("titan-dev: no test was run", file=sys.stderr)
    return done.returncode == 0
