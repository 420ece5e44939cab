"""Map-reduce: words counted in many files at once, and the counts added up in a tree; one run.

Run it against a running cluster::

    .venv/bin/python titan_test_suite/examples/map_reduce/word_count.py FILE [FILE ...]
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from pathlib import Path

from titan_sdk import TaskCall, task

FAN_IN = 4
SHOWN = 10


@task
def count(text: str) -> Counter[str]:
    """Map: the words of one text."""
    return Counter(re.findall(r"[a-z']+", text.lower()))


@task
def add(counts: list[Counter[str]]) -> Counter[str]:
    """Reduce: several counts as one."""
    return sum(counts, Counter[str]())


def word_count(files: list[Path]) -> TaskCall[Counter[str]]:
    """The whole computation, as calls that stand in each other's arguments: nothing runs yet."""
    level = [count.call(path.read_text(encoding="utf-8", errors="replace")) for path in files]
    while len(level) > 1:
        level = [add.call(level[begin : begin + FAN_IN]) for begin in range(0, len(level), FAN_IN)]
    return level[0]


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("usage: word_count.py FILE [FILE ...]")
    handle = word_count([Path(name) for name in sys.argv[1:]]).submit()
    for word, number in handle.result(timeout=300).most_common(SHOWN):
        print(f"{number:6} {word}")
