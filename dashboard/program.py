"""The dashboard's program: parts made, started and stopped in order around a waitress server.

Waitress, since it is pure Python, thread-based as everything here, and streams as it goes; an open event stream holds
one of its threads, so it gets MAX_STREAMS beside those that answer requests.
"""

from __future__ import annotations

import logging
import secrets
import signal
import sys
from collections.abc import Sequence
from dataclasses import replace
from types import FrameType
from typing import Any, Final, NoReturn

from waitress.server import create_server

from dashboard.app import create_app
from dashboard.broker import MAX_STREAMS, Broker
from dashboard.gateway import Gateway
from dashboard.hub import Hub
from dashboard.live_logs import LiveLogs
from dashboard.options import Options, parse
from dashboard.parts import Parts
from dashboard.trust import Trust
from titan_sdk.errors import ConfigError, TitanError

log = logging.getLogger("titan.dashboard")

REQUEST_THREADS: Final = 12
JOIN_S: Final = 5.0
SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Dashboard:
    """Everything of one dashboard. ``open``, ``serve`` (until SystemExit), ``stop``."""

    def __init__(self, options: Options) -> None:
        self._options = options
        self.port = options.port

    def open(self) -> None:
        """Take the ports, and put the parts together.

        Raises:
            ConfigError: a port is taken.
        """
        options = self._options
        self._gateway = Gateway(options)
        self._broker = Broker()
        self._logs = LiveLogs(
            self._gateway,
            self._broker,
            host=options.udp_host,
            port=options.udp_port,
            advertise=options.udp_advertise,
        )
        self._hub = Hub(self._gateway, self._broker, on_jobs=self._logs.jobs_changed)
        self._hub.on_master = self._logs.master
        self._broker.on_topic = self._logs.topic
        trust = Trust(options, lambda: self.port)
        app = create_app(Parts(self._gateway, self._broker, self._hub, self._logs, trust))
        try:
            self._server: Any = create_server(
                app,
                host=options.host,
                port=options.port,
                threads=REQUEST_THREADS + MAX_STREAMS,
                send_bytes=1,  # an event goes out as it comes
                channel_request_lookahead=1,  # so that a browser that goes away is noticed during its stream
                connection_limit=512,
                ident=None,
                max_request_body_size=app.config["MAX_CONTENT_LENGTH"],
            )
        except OSError as error:
            self._logs.join(0)
            raise ConfigError(f"cannot listen on {options.host}:{options.port}: {error.strerror or error}") from None
        self.port = int(self._server.effective_port)

    def serve(self) -> None:
        """Until a SystemExit is raised, which a signal handler does."""
        self._logs.start()
        self._hub.start()
        self._server.run()

    def quiet(self) -> None:
        """End the streams, so that their threads can end."""
        self._broker.close()

    def stop(self) -> None:
        """After ``serve``."""
        self._hub.stop()
        self._logs.stop()
        self._logs.join(JOIN_S)
        self._gateway.close()
        self._hub.join(JOIN_S)
        self._server.close()


def main(argv: Sequence[str] | None = None) -> int:
    """Run a dashboard until it is told to end. 0 then; 2 when it cannot begin."""
    try:
        options = parse(sys.argv[1:] if argv is None else argv)
        logging.basicConfig(level=options.log_level, format="%(asctime)s %(levelname)-7s %(message)s")
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        if not options.login_code and sys.stdout.isatty():
            options = _with_code(options)
        dashboard = Dashboard(options)
        dashboard.open()
    except TitanError as error:
        print(f"server_dashboard: {error}", file=sys.stderr)
        return 2

    def end(number: int, frame: FrameType | None) -> NoReturn:
        # The first one is enough: another in the middle of this would wait for a lock that this holds.
        for each in SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        dashboard.quiet()
        raise SystemExit(0)

    for number in SIGNALS:
        signal.signal(number, end)
    shown = f"[{options.host}]" if ":" in options.host else options.host
    print(f"Titan dashboard ready on {shown}:{dashboard.port}", flush=True)
    if options.login_code and sys.stdout.isatty():
        print(f"Open http://{shown}:{dashboard.port}/login?once={options.login_code} (works once)", flush=True)
    try:
        dashboard.serve()
    except SystemExit:
        pass
    dashboard.stop()
    return 0


def _with_code(options: Options) -> Options:
    """Started by a person at a terminal: they get an address that logs in."""
    return replace(options, login_code=secrets.token_urlsafe(24))
