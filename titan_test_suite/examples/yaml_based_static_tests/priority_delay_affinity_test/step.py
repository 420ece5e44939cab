"""Note when and where a step ran: ``step.py NAME [PARENT]``; with a parent, say whether it ran on the same worker."""

import json
import os
import sys
import time
from pathlib import Path

name = sys.argv[1]
folder = Path(os.environ["TITAN_SHARED_DIR"]) / os.environ["TITAN_RUN_ID"]
folder.mkdir(parents=True, exist_ok=True)
note = {"started_at": time.time(), "worker": os.environ["TITAN_WORKER_ID"]}
(folder / f"{name}.json").write_text(json.dumps(note))
print(f"{name} on worker {note['worker']}")
if len(sys.argv) > 2:
    parent = json.loads((folder / f"{sys.argv[2]}.json").read_text())
    print("same worker as its parent" if parent["worker"] == note["worker"] else "another worker than its parent")
