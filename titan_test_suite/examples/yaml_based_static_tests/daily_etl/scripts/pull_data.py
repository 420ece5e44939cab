"""Pull the raw data: the HTTP status codes that this Python knows, with some rows spoiled."""

import csv
from http import HTTPStatus

with open("raw_status.csv", "w", newline="") as file:  # jobs of single files run in the shared folder
    rows = csv.writer(file)
    for status in HTTPStatus:
        rows.writerow([status.value, f"  {status.phrase} "])
        if status.value % 100 == 0:
            rows.writerow(["", "spoiled"])
print(f"{len(HTTPStatus)} rows")
