"""The Chromium that the browser tests drive: the system's own, installed when it is missing and we may."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
VARIABLE = "TITAN_CHROMIUM"
"""Environment variable with the path of another one."""
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)
"""Quiet: no screen, no network of its own, and as root too."""
HOW = f"install Chromium (on Debian: sudo apt-get install chromium), or let {VARIABLE} name one"


def find_browser() -> str:
    """Its path; empty when there is none."""
    given = os.environ.get(VARIABLE, "")
    return given or next(filter(None, map(shutil.which, NAMES)), "")


def ensure_browser(say: Callable[[str], None]) -> bool:
    """Whether there is one, after an attempt to install it where that takes no password."""
    if find_browser():
        return True
    apt = shutil.which("apt-get")
    if apt is None or os.geteuid() != 0:
        say(f"there is no browser, and the browser tests will fail: {HOW}")
        return False
    say("installing Chromium for the browser tests")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in ([apt, "update", "-qq"], [apt, "install", "-y", "-qq", "--no-install-recommends", "chromium"]):
        done = subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        if done.returncode:
            say(f"{' '.join(command)} failed: {done.stderr.strip()[-500:]}")
            return False
    return bool(find_browser())
