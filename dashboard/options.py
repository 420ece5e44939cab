"""What the dashboard is started with: read once from the command line and the environment."""

from __future__ import annotations

import argparse
import ipaddress
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from titan_sdk.errors import ConfigError, InvalidName
from titan_sdk.names import check_port
from titan_sdk.settings import client_settings

DEFAULT_PORT: Final = 5000
LOGIN_CODE: Final = "TITAN_DASHBOARD_LOGIN"
"""Environment variable with the code that logs in once; whoever starts the dashboard makes an address of it."""
MIN_CODE: Final = 16


@dataclass(frozen=True)
class Options:
    """Frozen settings of one dashboard.

    Attributes:
        host, port: to listen on. master_host, master_port: whom to follow.
        token: the cluster's secret; empty: read from ``home`` for each connection and each login.
        home: TITAN_HOME, where the token file is.
        allowed_hosts: names a browser may call us by, beside those of the address we listen on.
        login_code: logs in once; empty: none.
        udp_host, udp_port: where output of watched jobs is received; empty and 0: chosen.
        udp_advertise: what workers are told instead, as host and port, when something forwards it.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    master_host: str = "127.0.0.1"
    master_port: int = 9090
    token: str = ""
    home: Path = Path("~/.titan")
    allowed_hosts: tuple[str, ...] = ()
    login_code: str = ""
    udp_host: str = ""
    udp_port: int = 0
    udp_advertise: tuple[str, int] | None = None
    log_level: str = "WARNING"

    @property
    def loopback(self) -> bool:
        return is_loopback(self.host)


def parse(argv: Sequence[str], environ: Mapping[str, str] | None = None) -> Options:
    """The options of a command line.

    Raises:
        ConfigError: one of them cannot be used. SystemExit: argparse has printed why.
    """
    environ = os.environ if environ is None else environ
    settings = client_settings(environ)
    arguments = _parser().parse_args(argv)
    if not is_loopback(arguments.host) and not arguments.insecure:
        raise ConfigError(
            f"--host {arguments.host}: without --insecure only addresses of this machine are listened on, "
            "since nothing here is encrypted; put a proxy with TLS before it, or use an SSH tunnel"
        )
    master_host, master_port = settings.host, settings.port
    if arguments.master:
        master_host, master_port = _address(arguments.master, "--master", settings.port)
    code = environ.get(LOGIN_CODE, "")
    if code and len(code) < MIN_CODE:
        raise ConfigError(f"{LOGIN_CODE}: a code of {MIN_CODE} characters or more is wanted")
    return Options(
        host=arguments.host,
        port=_port(arguments.port, "--port"),
        master_host=master_host,
        master_port=master_port,
        token=environ.get("TITAN_TOKEN", "").strip(),
        home=settings.home,
        allowed_hosts=tuple(arguments.allow_host),
        login_code=code,
        udp_host=arguments.udp_host,
        udp_port=_port(arguments.udp_port, "--udp-port"),
        udp_advertise=_address(arguments.udp_advertise, "--udp-advertise", 0) if arguments.udp_advertise else None,
        log_level=arguments.log_level,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="server_dashboard.py", description="Titan in a browser.")
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1)")
    add("--port", type=int, default=DEFAULT_PORT, help=f"port to listen on, 0: any (default {DEFAULT_PORT})")
    add("--master", default="", metavar="HOST:PORT", help="the master (default TITAN_HOST, TITAN_PORT)")
    add("--allow-host", action="append", default=[], metavar="NAME", help="name that browsers may call us by")
    add("--insecure", action="store_true", help="listen on any address, without encryption")
    add("--udp-host", default="", help="address that workers send output of watched jobs to (default: found)")
    add("--udp-port", type=int, default=0, help="its port (default: any)")
    add("--udp-advertise", default="", metavar="HOST:PORT", help="what workers are told instead, behind a NAT")
    add("--log-level", default="WARNING", choices=("DEBUG", "INFO", "WARNING", "ERROR"))
    return parser


def is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _port(port: int, what: str) -> int:
    try:
        return check_port(port, what, zero=True)
    except InvalidName as error:
        raise ConfigError(str(error)) from None


def _address(text: str, what: str, default_port: int) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    if not colon:
        host, port = text, str(default_port)
    if not host or not port.isdigit() or not int(port):
        raise ConfigError(f"{what}: {text!r} is not HOST:PORT")
    return host.strip("[]"), _port(int(port), what)
