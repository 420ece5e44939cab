"""What goes wrong, as an answer: JSON for the API, a page for people."""

from __future__ import annotations

import logging
from typing import Any

from flask import Flask, Response, jsonify, render_template, request
from werkzeug.exceptions import HTTPException

from dashboard.broker import TooManyStreams
from titan_sdk.errors import (
    BadRequest,
    ConfigError,
    Conflict,
    InvalidName,
    NotFound,
    PipelineError,
    Problem,
    RemoteError,
    SubmissionRefused,
    TitanError,
    TransportError,
    Unavailable,
)

log = logging.getLogger(__name__)

_STATUS: dict[type[TitanError], int] = {
    NotFound: 404,
    Conflict: 409,
    SubmissionRefused: 422,
    PipelineError: 422,
    InvalidName: 422,
    BadRequest: 400,
    Unavailable: 503,
    TransportError: 503,
    ConfigError: 500,
    RemoteError: 502,
}


def install(app: Flask) -> None:
    app.register_error_handler(TitanError, _titan_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(TooManyStreams, _too_many)
    app.register_error_handler(Exception, _unexpected)


def problems_json(problems: tuple[Problem, ...]) -> list[dict[str, Any]]:
    return [{"where": each.where, "text": each.text, "line": each.line} for each in problems]


def _titan_error(error: TitanError) -> Any:
    status = next((code for kind, code in _STATUS.items() if isinstance(error, kind)), 500)
    problems: tuple[Problem, ...] = getattr(error, "problems", ())
    text = f"the master is away: {error}" if isinstance(error, TransportError) else str(error)
    return _answer(status, text, problems)


def _http_error(error: HTTPException) -> Any:
    if error.response is not None:
        return error.response
    return _answer(error.code or 500, error.description or error.name)


def _too_many(error: TooManyStreams) -> Any:
    return _answer(503, "too many browsers are open already; close some")


def _unexpected(error: Exception) -> Any:
    log.error("%s %s failed", request.method, request.path, exc_info=error)
    return _answer(500, "something went wrong here; the dashboard's log says what")


def _answer(status: int, text: str, problems: tuple[Problem, ...] = ()) -> Any:
    if request.path.startswith(("/api/", "/events", "/metrics")):
        return jsonify({"error": text, "problems": problems_json(problems)}), status
    page: Response = Response(render_template("error.html", status=status, text=text), status)
    return page
