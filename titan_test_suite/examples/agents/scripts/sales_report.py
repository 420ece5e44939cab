"""A report with several faults in it, as it may come from a model: each shows only when the one before is mended."""

import csv
import io
import os
import signal

import fastjson_not_installed as json

SALES = """city,amount
Lisbon,120
Nairobi,80
Reykjavik,n/a
Lisbon,40
"""

totals: dict[str, int] = {}
for row in csv.DictReader(io.StringIO(SALES)):
    totals[row["city"]] = totals.get(row["city"], 0) + int(row["amount"])

if os.environ.get("REPORT_ENGINE", "native") == "native":
    print("rendering with the native engine", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)  # what a fault in an extension module comes to

print(json.dumps(totals))
