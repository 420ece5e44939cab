"""Add the eight counts up. There are 7,837 primes below 80,000."""

import os
from pathlib import Path

folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
total = sum(int((folder / f"part-{part}.txt").read_text()) for part in range(1, 9))
print(f"{total} primes below 80000")
assert total == 7837
