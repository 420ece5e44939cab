"""Both halves are there when this starts; together they are the sum of all."""

import os
from pathlib import Path

folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
even, odd = (int((folder / f"{kind}.txt").read_text()) for kind in ("even", "odd"))
rows = len((folder / "numbers.txt").read_text().splitlines())
assert even + odd == rows * (rows + 1) // 2, (even, odd, rows)
print(f"{even} + {odd} = {even + odd}")
