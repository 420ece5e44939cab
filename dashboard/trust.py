"""Who may use the dashboard: Host allow-list, login by token or by a code that works once, sessions, CSRF, headers."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from flask import Flask, Response, g, redirect, request, session, url_for
from werkzeug.exceptions import Forbidden, MisdirectedRequest, TooManyRequests, Unauthorized
from werkzeug.wrappers import Response as AnyResponse

from dashboard.options import Options
from titan_sdk.settings import read_token

CODE_S: Final = 600.0
"""A login code that nobody used ends then."""
SESSION_S: Final = 30 * 24 * 3600
CSRF_HEADER: Final = "X-Titan-CSRF"
SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
OPEN: Final = frozenset({"static", "pages.login", "pages.enter", "pages.healthz"})
"""Endpoints that want no login."""
MAX_FAILURES: Final = 10
FAILURE_WINDOW_S: Final = 60.0
"""So many wrong tokens a minute; a token cannot be guessed, and this keeps the log of tries short."""

HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
}


class Trust:
    """Installed on an app, it looks at every request before anything else does.

    Args:
        port: that we really listen on.
    """

    def __init__(self, options: Options, port: Callable[[], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._port = port
        self._clock = clock
        self._lock = threading.Lock()
        self._code = options.login_code
        self._code_until = clock() + CODE_S
        self._failures: list[float] = []

    def install(self, app: Flask) -> None:
        # A key of the token's: sessions outlive a restart of ours, and end when the token is changed.
        token = self.token()
        key = hmac.digest(token.encode(), b"titan dashboard sessions", hashlib.sha256) if token else None
        app.config.update(
            SECRET_KEY=key or secrets.token_bytes(32),
            SESSION_COOKIE_NAME="titan_session",
            SESSION_COOKIE_HTTPONLY=True,
            SESSION_COOKIE_SAMESITE="Strict",
            SESSION_COOKIE_PATH="/",
            PERMANENT_SESSION_LIFETIME=SESSION_S,
            SESSION_REFRESH_EACH_REQUEST=False,
        )
        app.before_request(self._check)
        app.after_request(_protect)

    @property
    def home(self) -> Path:
        return self._options.home

    # --- login ----------------------------------------------------------------------------------------------------

    def token(self) -> str:
        """The cluster's secret; empty when there is none on this machine yet. Raises ConfigError."""
        return self._options.token or read_token(self._options.home)

    def log_in(self, given: str) -> bool:
        """Begin a session when the token is right.

        Raises:
            TooManyRequests: this is one of too many wrong ones. The right one is never refused for those of others.
        """
        token = self.token()
        if token and hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode()):
            self._begin()
            return True
        with self._lock:
            now = self._clock()
            self._failures = [at for at in self._failures if at > now - FAILURE_WINDOW_S]
            if len(self._failures) >= MAX_FAILURES:
                raise TooManyRequests("too many wrong tokens; wait a minute")
            self._failures.append(now)
        return False

    def log_in_once(self, code: str) -> bool:
        """Begin a session when the code is right, unused, and not too old."""
        with self._lock:
            good = (
                bool(self._code)
                and self._clock() < self._code_until
                and hmac.compare_digest(code.encode("utf-8", "replace"), self._code.encode())
            )
            if good:
                self._code = ""
        if good:
            self._begin()
        return good

    def _begin(self) -> None:
        session.clear()
        session.permanent = True
        session["id"] = secrets.token_urlsafe(16)
        session["csrf"] = secrets.token_urlsafe(24)

    # --- every request --------------------------------------------------------------------------------------------

    def hosts(self) -> set[str]:
        """The Host headers that name us."""
        names: Iterable[str] = self._options.allowed_hosts
        if self._options.loopback:
            names = (*names, "127.0.0.1", "localhost", "[::1]")
        host = self._options.host
        if host not in ("0.0.0.0", "::"):
            names = (*names, f"[{host}]" if ":" in host else host)
        found = set()
        for name in names:
            found |= {name.lower(), f"{name.lower()}:{self._port()}"}
        return found

    def _check(self) -> AnyResponse | None:
        if request.headers.get("Host", "").lower() not in self.hosts():
            raise MisdirectedRequest("this is no name of this dashboard; --allow-host adds one")
        if (
            request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site")  # same-site: another port here
            and request.headers.get("Sec-Fetch-Mode") != "navigate"
        ):
            raise Forbidden("asked for by another site")
        g.by_token = self._by_token()
        if request.method not in SAFE:
            self._check_origin()
        if request.endpoint in OPEN or g.by_token:
            return None
        if "id" not in session:
            if request.method == "GET" and request.endpoint and request.endpoint.startswith("pages."):
                return redirect(url_for("pages.login", next=request.full_path.rstrip("?")))
            raise Unauthorized("log in first")
        if request.method not in SAFE:
            given = request.headers.get(CSRF_HEADER, "")
            if not hmac.compare_digest(given.encode("utf-8", "replace"), session["csrf"].encode()):
                raise Forbidden("the CSRF token is missing or wrong; load the page again")
        return None

    def _by_token(self) -> bool:
        """Programs send the token itself, which no other site's page can."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        token = self.token() if scheme.lower() == "bearer" else ""
        return bool(token) and hmac.compare_digest(given.strip().encode("utf-8", "replace"), token.encode())

    def _check_origin(self) -> None:
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2].lower() not in self.hosts():
            raise Forbidden("asked for by another site")


def _protect(response: Response) -> Response:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    if request.endpoint != "static":
        response.headers.setdefault("Cache-Control", "no-store")
    return response


def safe_next(target: str) -> str:
    """Where to go after a login: a path of ours, whatever was asked for."""
    if target.startswith("/") and not target.startswith(("//", "/\\")) and target.isprintable() and "\\" not in target:
        return target
    return "/"
