"""Cut the numbers below 80,000 into eight ranges."""

import json
import os
from pathlib import Path

folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
folder.mkdir(parents=True, exist_ok=True)
ranges = {str(part): [(part - 1) * 10_000, part * 10_000] for part in range(1, 9)}
(folder / "ranges.json").write_text(json.dumps(ranges))
print(f"{len(ranges)} parts")
