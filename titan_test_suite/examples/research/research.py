"""A research team that grows while it works: a planner, researchers that call in more researchers, and a writer.

Run it against a running cluster::

    python titan_test_suite/examples/research/research.py [topic]
"""

from __future__ import annotations

import sys
import uuid
from pathlib import Path

from titan_sdk import FIRST_COMPLETED, JobHandle, TitanClient, TitanJob, cancelling, wait

HERE = Path(__file__).parent
OPEN_STATES = ("PENDING", "DELAYED", "RUNNING")


def team(client: TitanClient, study: str) -> list[JobHandle]:
    """The agents that are at work, or are about to be."""
    return [client.job(job.key) for job in client.jobs(OPEN_STATES, limit=1000) if job.id.startswith(study)]


def main(topic: str = "Tides") -> int:
    study = f"study-{uuid.uuid4().hex[:8]}"
    with TitanClient() as client:
        agents = [
            client.submit_job(TitanJob(f"{study}-planner", "team.py", archive=HERE, args=["plan", study, topic, 2]))
        ]
        # An agent submits others before it ends itself, so as long as there is work to come there is somebody here.
        while agents:
            with cancelling(agents):
                wait(agents, return_when=FIRST_COMPLETED)
            agents = team(client, study)
        report = client.kv.get(f"{study}/report")
        if report is None:
            for job in client.jobs("DEAD"):
                if job.id.startswith(study):
                    print(f"{job.id} failed: {job.reason}")
            return 1
        print(report.decode(), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
