"""Put the shards together."""

from __future__ import annotations

import re

import bus


def main() -> None:
    parts = [bus.read(path.name) for path in sorted(bus.run_folder().glob("parsed-*.json"))]
    whole = {
        "lines": sum(part["lines"] for part in parts),
        "unreadable": sum(part["unreadable"] for part in parts),
        "functions": [row for part in parts for row in part["functions"]],
    }
    modules = {re.sub(r"/__init__\.py$|\.py$", "", row[0]) for row in whole["functions"]}
    bus.write("functions.json", whole)
    print(f"{len(parts)} shards: {len(whole['functions'])} functions in {len(modules)} modules, {whole['lines']} lines")


if __name__ == "__main__":
    main()
