"""``titan-mcp``: a Titan cluster as tools for agents, by the Model Context Protocol over stdin and stdout.

It looks and changes nothing, unless it was started with ``--allow-writes`` or ``--allow-approvals``.
What is printed goes to stderr.
"""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parent)
    import run_as_script

    run_as_script.prepare(needed=("msgspec", "yaml", "mcp"))

import argparse
import logging
import os
import uuid
from collections.abc import Mapping, Sequence
from typing import Final

from titan_sdk import __version__
from titan_sdk.client import TitanClient
from titan_sdk.errors import ConfigError, InvalidName
from titan_sdk.names import check_job_id

DEFAULT_MAX_JOBS: Final = 100
NOT_DONE: Final = 2
_YES: Final = ("1", "true", "yes", "on")

INSTRUCTIONS: Final = """\
Titan runs scripts, DAGs of them and services on a cluster of workers. A submission is a run, which has jobs; a job is \
named by its key run/job, or by its id alone, which then means its latest run. Start with cluster_stats or list_runs. \
When a job failed, get_job tells why and tail_logs shows what it printed; explain_job tells why a job waits."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=pathlib.Path(sys.argv[0]).name or "titan-mcp",
        description="A Titan cluster as tools for agents (Model Context Protocol, over stdin and stdout).",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"titan-sdk {__version__}")
    parser.add_argument("--host", help="the master's address (default: TITAN_HOST, else 127.0.0.1)")
    parser.add_argument("--port", type=int, help="the master's port (default: TITAN_PORT, else 9090)")
    parser.add_argument(
        "--allow-writes",
        action="store_true",
        help="tools that submit, end and change too (or TITAN_MCP_ALLOW_WRITES=1)",
    )
    parser.add_argument(
        "--allow-approvals", action="store_true", help="tools that approve and reject jobs which wait for a person too"
    )
    parser.add_argument(
        "--max-jobs", type=int, default=DEFAULT_MAX_JOBS, metavar="N",
        help=f"jobs that it may submit in all (default: {DEFAULT_MAX_JOBS})",
    )  # fmt: skip
    parser.add_argument(
        "--agent-run-id", default="", metavar="ID",
        help="groups what it submits (default: TITAN_AGENT_RUN_ID, else one of its own)",
    )  # fmt: skip
    return parser


def main(argv: Sequence[str] | None = None, environ: Mapping[str, str] | None = None) -> int:
    """The exit code."""
    environ = os.environ if environ is None else environ
    given = _parser().parse_args(argv)
    try:
        from titan_sdk.mcp_tools import ReadTools
        from titan_sdk.mcp_write_tools import ApprovalTools, WriteTools
    except ImportError as error:
        print(f"error: {error}; pip install 'titan-sdk[mcp]'", file=sys.stderr)
        return NOT_DONE
    from mcp.server.mcpserver import MCPServer

    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    writes = given.allow_writes or environ.get("TITAN_MCP_ALLOW_WRITES", "").lower() in _YES
    agent_run_id = given.agent_run_id or environ.get("TITAN_AGENT_RUN_ID", "") or f"mcp-{uuid.uuid4().hex[:12]}"
    try:
        if given.max_jobs < 0:
            raise InvalidName(f"--max-jobs {given.max_jobs} is negative")
        check_job_id(agent_run_id, "agent run id")
        client = TitanClient(given.host, given.port)
    except (ConfigError, InvalidName) as error:
        print(f"error: {error}", file=sys.stderr)
        return NOT_DONE
    server = MCPServer("titan", instructions=INSTRUCTIONS, version=__version__, log_level="WARNING")
    ReadTools(client).install(server)
    if writes:
        WriteTools(client, agent_run_id, given.max_jobs).install(server)
    if given.allow_approvals:
        ApprovalTools(client, agent_run_id).install(server)
    try:
        server.run("stdio")
    except KeyboardInterrupt:
        pass
    finally:
        client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
