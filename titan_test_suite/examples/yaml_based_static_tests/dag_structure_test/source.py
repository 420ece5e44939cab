"""Write the numbers 1 to ROWS, one on a line, into this run's folder on the data bus."""

import argparse
import os
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--rows", type=int, required=True)
rows = parser.parse_args().rows

folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
folder.mkdir(parents=True, exist_ok=True)
(folder / "numbers.txt").write_text("".join(f"{number}\n" for number in range(1, rows + 1)))
print(f"wrote {rows} numbers")
