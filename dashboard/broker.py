"""Server-sent events: what is published once goes to every browser that asked for its topic."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from dashboard.wire import encode

MAX_STREAMS: Final = 64
"""Browsers at once. Each holds a thread of the server, which is started with so many more."""
MAX_QUEUED: Final = 2_000
"""Events waiting for one browser; one that takes them slower begins anew."""
PING_S: Final = 15.0
"""Between two signs of life: a browser that is gone is noticed, and a proxy in between keeps the connection."""


class TooManyStreams(Exception):
    """There are MAX_STREAMS."""


def format_event(name: str, data: Any) -> bytes:
    """One event on the wire; the JSON is one line."""
    return f"event: {name}\ndata: {encode(data)}\n\n".encode()


class Stream:
    """The events of one browser."""

    def __init__(self, topics: frozenset[str], broker: Broker) -> None:
        self.topics = topics
        self._broker = broker
        self._queue: queue.Queue[bytes | None] = queue.Queue(MAX_QUEUED)
        self._lost = False

    def put(self, event: bytes) -> None:
        """Never waits."""
        if self._lost:
            return
        try:
            self._queue.put_nowait(event)
        except queue.Full:
            self._lost = True

    def end(self) -> None:
        self._lost = True
        try:
            self._queue.put_nowait(None)
        except queue.Full:
            pass

    def events(self) -> Iterator[bytes]:
        """Until the browser is gone, too slow, or the dashboard ends; a browser comes again by itself."""
        try:
            yield b"retry: 1000\n\n"
            while True:
                try:
                    event = self._queue.get(timeout=PING_S)
                except queue.Empty:
                    if self._lost:
                        return
                    event = b": ping\n\n"
                if event is None or (self._lost and self._queue.empty()):
                    return
                yield event
        finally:
            self._broker.forget(self)


class Broker:
    """Topics and who listens. Any thread may call.

    Args:
        on_topic: called with a topic and whether anybody listens to it, when its first listener has come or its last
            one has gone; the last call tells how it is.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._telling = threading.Lock()
        self._streams: set[Stream] = set()
        self._listeners: dict[str, int] = {}
        self._closed = False
        self.on_topic: Callable[[str, bool], None] = lambda topic, on: None
        self.published = 0

    def open(self, topics: Iterable[str], first: Callable[[], list[bytes]]) -> Stream:
        """A stream whose first events are what ``first`` returns; nothing published from then on is missing.

        Raises:
            TooManyStreams.
        """
        stream = Stream(frozenset(topics), self)
        with self._lock:
            if self._closed or len(self._streams) >= MAX_STREAMS:
                raise TooManyStreams
            self._streams.add(stream)
            fresh = [topic for topic in stream.topics if not self._listeners.get(topic)]
            for topic in stream.topics:
                self._listeners[topic] = self._listeners.get(topic, 0) + 1
        # Published meanwhile, an event comes before the snapshot and is repeated by it, which does no harm.
        try:
            for event in first():
                stream.put(event)
            self._tell(fresh)
        except BaseException:
            self.forget(stream)
            raise
        return stream

    def forget(self, stream: Stream) -> None:
        gone = []
        with self._lock:
            if stream not in self._streams:
                return
            self._streams.discard(stream)
            for topic in stream.topics:
                self._listeners[topic] -= 1
                if not self._listeners[topic]:
                    del self._listeners[topic]
                    gone.append(topic)
        self._tell(gone)

    def _tell(self, topics: list[str]) -> None:
        # A page that is loaded again comes and goes at once, on two threads: what counts is how it is by now.
        with self._telling:
            for topic in topics:
                self.on_topic(topic, self.has(topic))

    def publish(self, topic: str, name: str, data: Any) -> None:
        """Encoded once, for all who listen; not at all when nobody does."""
        with self._lock:
            if not self._listeners.get(topic):
                return
            streams = [stream for stream in self._streams if topic in stream.topics]
        event = format_event(name, data)
        self.published += 1
        for stream in streams:
            stream.put(event)

    def has(self, topic: str) -> bool:
        return bool(self._listeners.get(topic))

    def count(self) -> int:
        return len(self._streams)

    def close(self) -> None:
        """End all streams, and open no more."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
        for stream in streams:
            stream.end()
