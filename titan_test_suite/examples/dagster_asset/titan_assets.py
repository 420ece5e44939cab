"""Dagster assets whose work is done on a Titan cluster: an asset of tasks, and one of a script.

Run it against a running cluster::

    .venv/bin/python titan_test_suite/examples/dagster_asset/titan_assets.py
"""

import sys
from pathlib import Path

import dagster

from titan_sdk import TitanClient, TitanJob, cancelling, wait

SUMMARY = Path(__file__).with_name("summary.py")


class TitanCluster(dagster.ConfigurableResource):  # type: ignore[type-arg]
    """A cluster as a resource; by default the one that TITAN_HOST and TITAN_PORT lead to."""

    host: str | None = None
    port: int | None = None

    def client(self) -> TitanClient:
        return TitanClient(self.host, self.port)


def primes_below(bounds: tuple[int, int]) -> int:
    """How many primes there are from one number to another."""
    first, end = bounds
    return sum(
        all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in range(max(2, first), end)
    )


@dagster.asset
def prime_counts(context: dagster.AssetExecutionContext, titan: TitanCluster) -> dict[int, int]:
    """Primes in each thousand, a call on the cluster for each; ending the run in Dagster cancels them."""
    with titan.client() as client:
        starts = range(0, 8000, 1000)
        handles = client.map(primes_below, [(start, start + 1000) for start in starts], name="primes")
        with cancelling(handles):
            wait(handles)
        context.log.info("%s has counted", handles[0].job.run_id)
        return {start: handle.result() for start, handle in zip(starts, handles, strict=True)}


@dagster.asset
def prime_summary(
    context: dagster.AssetExecutionContext, titan: TitanCluster, prime_counts: dict[int, int]
) -> dagster.MaterializeResult[None]:
    """A script as a job: its output is shown with the asset, and a failure of it is one of the asset."""
    with titan.client() as client:
        job = client.submit_job(TitanJob("prime-summary", SUMMARY, args=prime_counts.values(), retries=1))
        with cancelling([job]):
            printed = job.result(timeout=300)
        return dagster.MaterializeResult(metadata={"titan_job": job.key, "printed": printed.strip()})


definitions = dagster.Definitions(assets=[prime_counts, prime_summary], resources={"titan": TitanCluster()})


if __name__ == "__main__":
    done = dagster.materialize([prime_counts, prime_summary], resources={"titan": TitanCluster()})
    for event in done.get_asset_materialization_events():
        for name, value in event.materialization.metadata.items():
            print(f"{name}: {value.value}")
    sys.exit(0 if done.success else 1)
