"""The parts that requests use, kept with the app."""

from __future__ import annotations

from dataclasses import dataclass

from flask import current_app

from dashboard.broker import Broker
from dashboard.gateway import Gateway
from dashboard.hub import Hub
from dashboard.live_logs import LiveLogs
from dashboard.trust import Trust


@dataclass(frozen=True)
class Parts:
    gateway: Gateway
    broker: Broker
    hub: Hub
    logs: LiveLogs
    trust: Trust


def parts() -> Parts:
    """Those of the app that serves this request."""
    found: Parts = current_app.extensions["titan"]
    return found
