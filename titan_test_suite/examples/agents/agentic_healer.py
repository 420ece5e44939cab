"""Watches a job, and deploys another one when its logs tell of a crash that it knows.

Run it against a running cluster::

    .venv/bin/python titan_test_suite/examples/agents/agentic_healer.py
"""

from __future__ import annotations

import sys
from pathlib import Path

from titan_sdk import TitanClient, TitanJob

HERE = Path(__file__).parent


def heal(client: TitanClient, job_id: str) -> str:
    """The id of the job that has the result: the job itself, or the one that was deployed in its place."""
    client.job(job_id).wait(timeout=120, check=False)
    logs = client.fetch_logs(job_id)

    if "Segfault" in logs:
        print(f" CRITICAL ERROR in {job_id}. Deploying Patch...", flush=True)

        # Programmatically create a new job to fix the issue
        fix_job = TitanJob(id=f"{job_id}_fix", filename="scripts/safe_mode.py", base_dir=HERE)
        client.submit_job(fix_job)
        return fix_job.id
    return job_id


def main() -> int:
    with TitanClient() as client:
        client.submit_job(TitanJob("crunch", "scripts/crunch.py", base_dir=HERE, retries=0))
        healed = heal(client, "crunch")
        print(client.job(healed).result(timeout=120), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
