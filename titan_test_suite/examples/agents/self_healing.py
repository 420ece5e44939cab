"""The self-healing loop: run, and while it fails look at why, let a brain patch the script, and run that.

Run it against a running cluster::

    .venv/bin/python titan_test_suite/examples/agents/self_healing.py [script]
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from brains import Brain, Failure, brain_of_environment

from titan_sdk import TitanClient, TitanJob

SCRIPT = Path(__file__).parent / "scripts" / "sales_report.py"
MAX_ATTEMPTS = 6
TIMEOUT_S = 120.0


def heal(client: TitanClient, script: Path, brain: Brain) -> str | None:
    """What the script printed once it got through; None when the brain, or the attempts, came to an end before."""
    source, env = script.read_text(), dict[str, str]()
    with tempfile.TemporaryDirectory() as folder:
        for attempt in range(1, MAX_ATTEMPTS + 1):
            patched = Path(folder, f"{script.stem}_{attempt}.py")
            patched.write_text(source)
            job = client.submit_job(TitanJob(patched.stem, patched, env=env, retries=0, timeout=TIMEOUT_S))
            info = job.wait(timeout=2 * TIMEOUT_S, check=False)
            if info.state == "COMPLETED":
                print(f"attempt {attempt}: completed", flush=True)
                return job.logs()
            print(f"attempt {attempt}: {info.reason}", flush=True)
            patch = brain.fix(Failure(source, job.logs(), info.exit_code, info.reason))
            if patch is None:
                print("nobody knows what to do about that", flush=True)
                return None
            print(f"  patch: {patch.why}", flush=True)
            source, env = patch.source, {**env, **patch.env}
    print(f"given up after {MAX_ATTEMPTS} attempts", flush=True)
    return None


def main(script: Path = SCRIPT) -> int:
    """0 when the script got through."""
    with TitanClient() as client:
        result = heal(client, script, brain_of_environment())
    if result is None:
        return 1
    print(result, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
