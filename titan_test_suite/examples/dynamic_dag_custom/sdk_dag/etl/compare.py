"""Say which of the cities is the warmest."""

import sys
from pathlib import Path

means = {city: float(Path(f"{city}.txt").read_text()) for city in sys.argv[1:]}
warmest = max(means, key=means.__getitem__)
print(f"the warmest of {len(means)} is {warmest} with {means[warmest]:.1f} degrees")
