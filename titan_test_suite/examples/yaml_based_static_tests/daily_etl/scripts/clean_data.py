"""Drop spoiled rows, trim the rest, and write JSON."""

import csv
import json

with open("raw_status.csv", newline="") as file:
    clean = {int(code): phrase.strip() for code, phrase in csv.reader(file) if code}
with open("status.json", "w") as file:
    json.dump(clean, file)
print(f"{len(clean)} clean rows")
