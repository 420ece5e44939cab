"""Lets a program of the repository be started as a file: ``python titan_core/TitanMaster.py`` from anywhere.

Python then puts the program's own folder first on ``sys.path``, where its neighbours would be found under wrong names
and its packages not at all; and the interpreter may be one that has none of the libraries. A program begins with::

    if __name__ == "__main__" and not __package__:
        sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1] / "titan_sdk")
        import run_as_script
        run_as_script.prepare()

``prepare`` puts the repository's root in that place, and goes over to the interpreter of the repository's virtual
environment when this one lacks a library. Standard library only, and in words that older Pythons parse too, since it is
what tells them apart.
"""

from __future__ import annotations

import importlib.util
import os
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
OLDEST = (3, 10)
NEEDED = ("msgspec", "yaml", "psutil", "rich", "prompt_toolkit", "cronsim")
"""Libraries without which no program of ours starts."""

_MARK = "TITAN_RUN_AS_SCRIPT"
"""Environment variable that says we went over already, so that it happens once at most."""


def prepare(root: str = ROOT, needed: tuple[str, ...] = NEEDED) -> None:
    """Make the packages below ``root`` importable, with the libraries they need; ends the program when that cannot be.

    Replaces this process by the same command under ``root``/.venv's Python when a library is missing here and that
    virtual environment exists.
    """
    lacking = [name for name in needed if importlib.util.find_spec(name) is None]
    if sys.version_info < OLDEST or lacking:
        python = os.path.join(root, ".venv", "bin", "python")
        if os.access(python, os.X_OK) and not os.environ.get(_MARK):
            os.environ[_MARK] = "1"
            os.execv(python, [python, *getattr(sys, "orig_argv", ["", *sys.argv])[1:]])
        if sys.version_info < OLDEST:
            sys.exit(f"Titan needs Python 3.10 or newer; this is {sys.version.split()[0]} ({sys.executable})")
        setup = os.path.join(root, "titan-dev")
        how = f"run {setup} once" if os.path.exists(setup) else "run pip install -e . in titan_sdk"
        sys.exit(f"Titan needs {', '.join(lacking)}, not installed for {sys.executable}; {how} to set everything up")
    os.environ.pop(_MARK, None)
    sys.path[0] = root
