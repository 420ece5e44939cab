"""Measure every function in a shard of source files: ``parse.py SHARD``."""

from __future__ import annotations

import ast
import sys
import tokenize
import warnings

import bus
from complexity import complexity, functions


def main() -> None:
    shard = sys.argv[1]
    warnings.simplefilter("ignore")  # odd escapes in old modules are not our concern
    rows: list[list[object]] = []
    lines = unreadable = 0
    for path in bus.read(f"shard-{shard}.json"):
        try:
            with tokenize.open(path) as file:
                source = file.read()
            tree = ast.parse(source, path)
        except (SyntaxError, UnicodeDecodeError) as error:
            print(f"left out: {path}: {error}")
            unreadable += 1
            continue
        lines += source.count("\n")
        for name, function in functions(tree):
            length = (function.end_lineno or function.lineno) - function.lineno + 1
            rows.append([path, name, function.lineno, length, complexity(function)])
    bus.write(f"parsed-{shard}.json", {"lines": lines, "unreadable": unreadable, "functions": rows})
    print(f"shard {shard}: {lines} lines, {len(rows)} functions, {unreadable} files left out")


if __name__ == "__main__":
    main()
