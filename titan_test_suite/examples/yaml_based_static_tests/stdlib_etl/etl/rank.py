"""The most complex functions: ``rank.py HOW_MANY``."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

import bus


def main() -> None:
    library = Path(sysconfig.get_path("stdlib"))
    rows = bus.read("functions.json")["functions"]
    rows.sort(key=lambda row: (-row[4], row[0], row[2]))
    ranking = [
        {
            "place": place,
            "function": name,
            "file": str(Path(path).relative_to(library)),
            "line": line,
            "lines": length,
            "complexity": score,
        }
        for place, (path, name, line, length, score) in enumerate(rows[: int(sys.argv[1])], 1)
    ]
    bus.write("ranking.json", ranking)
    table = [f"{'':>3} {'complexity':>10} {'lines':>6}  function"]
    for row in ranking:
        where = f"{row['file']}:{row['line']}"
        table.append(f"{row['place']:>3} {row['complexity']:>10} {row['lines']:>6}  {row['function']}  ({where})")
    text = "\n".join(table)
    (bus.run_folder() / "ranking.txt").write_text(text + "\n", encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
