"""What browsers save: responses that are never shown as pages."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import quote

from flask import Response

from dashboard.gateway import Gateway
from titan_sdk.messages import Content, FetchContent


def attachment(response: Response, name: str) -> Response:
    """A download that no browser shows as a page, under a name of any characters."""
    plain = "".join(char if char.isascii() and (char.isalnum() or char in "._- ") else "_" for char in name)
    whole = quote(name, safe="")
    response.headers["Content-Disposition"] = f"attachment; filename=\"{plain}\"; filename*=UTF-8''{whole}"
    return response


def content(gateway: Gateway, first: Content, name: str) -> Response:
    """A content of the master's whole, from its first piece on; as long as it says, so a broken one is noticed."""

    def pieces() -> Iterator[bytes]:
        chunk, sent = first, 0
        while chunk.data:
            yield chunk.data
            sent += len(chunk.data)
            if sent >= first.size:
                return
            chunk = gateway.call(FetchContent(sha256=first.sha256, offset=sent))

    response = attachment(Response(pieces(), mimetype="application/octet-stream"), name)
    response.content_length = first.size
    return response
