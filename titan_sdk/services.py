"""ServiceHandle: a long-running service by its name, wherever it runs and however often it was restarted."""

from __future__ import annotations

from urllib.parse import urlsplit

from titan_sdk.errors import NotFound
from titan_sdk.handles import JobHandle
from titan_sdk.messages import ListServices, Restart, Scale, Scaled, ServiceInfo


class ServiceHandle(JobHandle):
    """A service. With a bare id it means the current version of that name. ``wait`` waits until it is ready."""

    def __repr__(self) -> str:
        return f"ServiceHandle({self.key!r})"

    @property
    def url(self) -> str:
        """Where it answers, as in ``http://10.0.0.7:40001``; empty while it is not ready, or has no port."""
        return self.info().url

    @property
    def address(self) -> tuple[str, int]:
        """Host and port, for what does not speak HTTP.

        Raises:
            NotFound: no such service, or it is not ready, or has no port.
        """
        parts = urlsplit(self.url)
        if parts.hostname is None or parts.port is None:
            raise NotFound(f"{self.key} is not ready, or has no port")
        return parts.hostname, parts.port

    def replicas(self) -> list[ServiceInfo]:
        """It and its replicas, and versions that are about to replace them, as they are now. Raises NotFound."""
        return self._caller.call(ListServices(name=self.job_id)).services

    def restart(self) -> list[str]:
        """End its processes and start it again; the keys of what is started. One that has ended is started anew."""
        return self._caller.call(Restart(id=self.key)).jobs

    def scale(self, count: int) -> Scaled:
        """Have so many replicas: NAME, NAME.2, NAME.3 ... They need port ``auto``. 0 stops all.

        Raises:
            Conflict: it has a fixed port, or is in the middle of another change.
        """
        return self._caller.call(Scale(id=self.key, count=count))
