"""Add up the even or the odd numbers: one script, two jobs, told apart by their argument."""

import os
import sys
from pathlib import Path

kind = sys.argv[1]
folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
numbers = [int(line) for line in (folder / "numbers.txt").read_text().splitlines()]
total = sum(number for number in numbers if number % 2 == (kind == "odd"))
(folder / f"{kind}.txt").write_text(str(total))
print(f"{kind}: {total}")
