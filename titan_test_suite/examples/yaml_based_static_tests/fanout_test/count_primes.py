"""Count the primes in one of the ranges: ``count_primes.py PART``."""

import json
import math
import os
import sys
from pathlib import Path

part = sys.argv[1]
folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
low, high = json.loads((folder / "ranges.json").read_text())[part]
primes = sum(n > 1 and all(n % d for d in range(2, math.isqrt(n) + 1)) for n in range(low, high))
(folder / f"part-{part}.txt").write_text(str(primes))
print(f"{primes} primes from {low} to {high}")
