"""Make the training data; needs nothing special, so it stays on the general workers."""

import json

from samples import FOLDER, points

FOLDER.mkdir(parents=True, exist_ok=True)
(FOLDER / "samples.json").write_text(json.dumps(points(500)))
print("500 samples")
