"""The dashboard: ``server_dashboard.py [--host HOST] [--port PORT] [--master HOST:PORT] ...``

Exit codes: 0 after it was asked to end, 2 when it cannot begin, 70 after a failure inside.
"""

from __future__ import annotations

import pathlib
import sys

if __name__ == "__main__" and not __package__:
    sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1] / "titan_sdk")
    import run_as_script

    run_as_script.prepare(needed=(*run_as_script.NEEDED, "flask", "waitress"))

from dashboard.program import main

if __name__ == "__main__":
    sys.exit(main())
