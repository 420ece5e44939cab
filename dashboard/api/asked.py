"""Reading what a request brings."""

from __future__ import annotations

from typing import Any

from flask import request
from werkzeug.exceptions import BadRequest


def body() -> dict[str, Any]:
    """The JSON object of a request; empty when it has no body."""
    if not request.get_data(cache=True):
        return {}
    found = request.get_json(silent=True)
    if not isinstance(found, dict):
        raise BadRequest("a JSON object is wanted")
    return found


def text(values: dict[str, Any], name: str, default: str | None = None) -> str:
    value = values.get(name, default)
    if not isinstance(value, str):
        raise BadRequest(f"{name}: a text is wanted")
    return value


def number(name: str, default: int, low: int, high: int) -> int:
    """A whole number of the query."""
    given = request.args.get(name)
    if given is None:
        return default
    try:
        value = int(given)
    except ValueError:
        raise BadRequest(f"{name}: a whole number is wanted") from None
    if not low <= value <= high:
        raise BadRequest(f"{name}: {low} to {high} is wanted")
    return value
