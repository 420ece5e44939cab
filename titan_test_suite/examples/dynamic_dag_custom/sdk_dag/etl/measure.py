"""Make up a year of daily temperatures for a city, the same ones at every run, and write their mean."""

import math
import random
import sys
from pathlib import Path

city = sys.argv[1]
source = random.Random(city)
middle, swing = source.uniform(0, 30), source.uniform(2, 15)
days = [middle - swing * math.cos(2 * math.pi * day / 365) + source.gauss(0, 2) for day in range(365)]
Path(f"{city}.txt").write_text(f"{sum(days) / len(days):.2f}")  # the working directory is the shared one
print(f"{city}: {len(days)} days")
