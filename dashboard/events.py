"""``/events``: server-sent events of the topics that a page asks for."""

from __future__ import annotations

from typing import Final

from flask import Blueprint, Response, request
from werkzeug.exceptions import BadRequest

from dashboard.listings import LISTINGS
from dashboard.parts import parts

blueprint = Blueprint("events", __name__)

TOPICS: Final = frozenset({"overview", "series", "runs", "timeline", "events", *LISTINGS})
WITH_NAME: Final = ("run:", "log:")
MAX_TOPICS: Final = 8


@blueprint.get("/events")
def events() -> Response:
    """Topics by ``?topic=``, several times; ``master`` always comes along."""
    asked = request.args.getlist("topic")
    if len(asked) > MAX_TOPICS:
        raise BadRequest(f"{MAX_TOPICS} topics at most")
    for topic in asked:
        if topic not in TOPICS and not (topic.startswith(WITH_NAME) and len(topic) < 600):
            raise BadRequest("no such topic")
    topics = frozenset({"master", *asked})
    found = parts()
    stream = found.broker.open(topics, lambda: found.hub.first_events(topics))
    response = Response(stream.events(), mimetype="text/event-stream")
    # Also when the browser is gone before the first event was asked for.
    response.call_on_close(lambda: found.broker.forget(stream))
    response.headers["X-Accel-Buffering"] = "no"
    return response
