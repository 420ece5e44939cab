"""Split the standard library's source files into shards of about the same number of bytes: ``shard.py COUNT``."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import bus

LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "__pycache__"}


def main() -> None:
    count = int(sys.argv[1])
    library = Path(sysconfig.get_path("stdlib"))
    files = [
        (path.stat().st_size, str(path))
        for path in library.rglob("*.py")
        if not LEFT_OUT.intersection(path.relative_to(library).parts)
    ]
    shards: list[list[str]] = [[] for _ in range(count)]
    sizes = [0] * count
    for size, path in sorted(files, reverse=True):  # largest first, each to the lightest shard so far
        lightest = sizes.index(min(sizes))
        shards[lightest].append(path)
        sizes[lightest] += size
    for number, shard in enumerate(shards, 1):
        bus.write(f"shard-{number}.json", shard)
    print(f"{len(files)} files, {sum(sizes) / 1e6:.1f} MB in {count} shards of {min(sizes)} to {max(sizes)} bytes")


if __name__ == "__main__":
    main()
