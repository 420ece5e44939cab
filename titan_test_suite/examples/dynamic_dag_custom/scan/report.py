"""Joins what the shards have found."""

import json
import pathlib

found: dict[str, int] = {}
for path in sorted(pathlib.Path().glob("functions-*.json")):
    found |= json.loads(path.read_text())
largest = max(found, key=found.__getitem__)
print(f"{sum(found.values())} functions in {len(found)} modules; {largest} has the most, {found[largest]}")
