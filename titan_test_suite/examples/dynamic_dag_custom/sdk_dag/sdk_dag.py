"""Build a DAG in a program, submit it, follow it, and use its result.

Run it against a running cluster::

    .venv/bin/python titan_test_suite/examples/dynamic_dag_custom/sdk_dag/sdk_dag.py
"""

from __future__ import annotations

from pathlib import Path

from titan_sdk import TitanClient, TitanJob

HERE = Path(__file__).parent
CITIES = ["Lisbon", "Nairobi", "Reykjavik"]


def build() -> list[TitanJob]:
    """One job measures each city, decided here at run time; a last one compares them all."""
    measure = [
        TitanJob(job_id=f"measure_{city.lower()}", filename=str(HERE / "etl/measure.py"), args=[city], priority=5)
        for city in CITIES
    ]
    compare = TitanJob(
        job_id="compare",
        filename=str(HERE / "etl/compare.py"),
        args=CITIES,
        parents=[job.job_id for job in measure],  # it starts when all of them have completed
        retries=1,
        timeout=60,
    )
    return [*measure, compare]


def main() -> None:
    with TitanClient() as client:
        run = client.submit_dag("city_weather", build())
        print(f"submitted {run.run_id}")
        run.wait(timeout=120)
        for job in run.jobs():
            print(f"{job.job_id:20} {job.status()}")
        print(client.fetch_logs("compare").strip())


if __name__ == "__main__":
    main()
