"""A research team that grows while it works: a planner, researchers that call in more researchers, and a writer.

Run it against a running cluster::

    .venv/bin/python titan_test_suite/examples/research/research.py [topic]
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from titan_sdk import TitanClient, TitanJob, cancelling

HERE = Path(__file__).parent


def main(topic: str = "Tides") -> int:
    study = f"study-{uuid.uuid4().hex[:8]}"
    with TitanClient() as client:
        planner = TitanJob(f"{study}-planner", "team.py", archive=HERE, args=["plan", study, topic, 2])
        run = client.submit_dag(study, [planner])
        with cancelling([run]):
            info = run.wait(check=False)  # it has ended when all have that were added to it meanwhile
        report = client.kv.get(f"{study}/report")
        if report is None:
            for job in info.jobs:
                if job.state == "DEAD":
                    print(f"{job.id} failed: {job.reason}")
            return 1
        print(report.decode(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
