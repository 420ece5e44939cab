"""How many functions there are of each complexity."""

from __future__ import annotations

from bisect import bisect_left

import bus

UPPER = [1, 2, 5, 10, 20, 50]  # the last class is everything above


def main() -> None:
    counts = [0] * (len(UPPER) + 1)
    for row in bus.read("functions.json")["functions"]:
        counts[bisect_left(UPPER, row[4])] += 1
    lower = [1] + [bound + 1 for bound in UPPER]
    labels = [str(low) if low == high else f"{low}-{high}" for low, high in zip(lower, UPPER, strict=False)]
    labels.append(f"over {UPPER[-1]}")
    classes = [{"label": label, "count": count} for label, count in zip(labels, counts, strict=True)]
    bus.write("histogram.json", classes)
    for item in classes:
        print(f"{item['label']:>8} {item['count']:>7}")


if __name__ == "__main__":
    main()
