"""The logic switch: how loaded the cluster is decides which pipeline runs.

Run it against a running cluster::

    .venv/bin/python titan_test_suite/examples/dynamic_dag_custom/dynamic_switch.py [threshold]
"""

from __future__ import annotations

import sys
from pathlib import Path

from titan_sdk import TitanClient, TitanJob

SCAN = Path(__file__).parent / "scan"
SHARDS = 4


def load_percent(client: TitanClient) -> float:
    """How full the cluster is: jobs that run or wait for a slot, of the slots of its workers."""
    workers = [worker for worker in client.workers() if worker.state == "alive"]
    slots = sum(worker.slots for worker in workers)
    busy = sum(worker.busy for worker in workers) + client.stats()["queue_size"]
    return 100.0 * busy / slots if slots else 100.0


fast_job = TitanJob("quick_scan", SCAN / "quick_scan.py", priority=10)

deep_dag = [
    *(TitanJob(f"analyse_{n}", SCAN / "analyse.py", args=[n, SHARDS], priority=5) for n in range(SHARDS)),
    TitanJob("report", SCAN / "report.py", parents=[f"analyse_{n}" for n in range(SHARDS)]),
]


def main(threshold: float = 80.0) -> int:
    with TitanClient() as client:
        traffic_load = load_percent(client)
        if traffic_load > threshold:
            print(f"{traffic_load:.0f} % load. High traffic: switching to the FAST pipeline.", flush=True)
            last = client.submit_job(fast_job)
        else:
            print(f"{traffic_load:.0f} % load. Normal traffic: running the DEEP analysis.", flush=True)
            last = client.submit_dag("DEEP_PIPELINE", deep_dag).job("report")
        print(last.result(timeout=300), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(*(float(text) for text in sys.argv[1:2])))
