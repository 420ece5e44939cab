"""The Flask app: parts and blueprints put together."""

from __future__ import annotations

from flask import Flask

from dashboard import errors, events, metrics, pages
from dashboard.api import blueprint as api
from dashboard.parts import Parts

MAX_BODY = 64 * 1024 * 1024
"""Of one request: files that go with a pipeline, or one that is put into perm_files."""


def create_app(parts: Parts) -> Flask:
    """The app over these parts, which their owner starts and stops."""
    app = Flask(__name__)
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY,
        MAX_FORM_MEMORY_SIZE=16 * 1024 * 1024,
        MAX_FORM_PARTS=2_000,
        SEND_FILE_MAX_AGE_DEFAULT=0,
    )
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.extensions["titan"] = parts
    parts.trust.install(app)
    errors.install(app)
    for blueprint in (pages.blueprint, events.blueprint, metrics.blueprint, api):
        app.register_blueprint(blueprint)
    return app
