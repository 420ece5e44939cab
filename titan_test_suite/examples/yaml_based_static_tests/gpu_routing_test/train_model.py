"""Fit a line by gradient descent; runs only on a worker that was started with the capability GPU."""

import json

from samples import FOLDER

samples = json.loads((FOLDER / "samples.json").read_text())
slope = offset = 0.0
for epoch in range(1, 201):
    errors = [(slope * x + offset - y, x) for x, y in samples]
    slope -= 0.5 * sum(error * x for error, x in errors) / len(samples)
    offset -= 0.5 * sum(error for error, _ in errors) / len(samples)
    if epoch % 50 == 0:
        loss = sum(error * error for error, _ in errors) / len(samples)
        print(f"epoch {epoch}: loss {loss:.4f}")
print(f"y = {slope:.1f} x + {offset:.1f}")
assert abs(slope - 3) < 0.1 and abs(offset + 2) < 0.1
