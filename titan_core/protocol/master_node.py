"""A master: its parts, wired together, started and stopped in order."""

from __future__ import annotations

import contextlib
import functools
import logging
import resource
import socket
import time
from typing import Any, Final

from titan_core import __version__
from titan_core.config import MasterSettings
from titan_core.filesys.asset_manager import AssetManager
from titan_core.filesys.content_retention import ContentRetention
from titan_core.filesys.content_store import ContentStore
from titan_core.filesys.log_retention import LogRetention
from titan_core.filesys.log_store import LogStore, Rotation
from titan_core.protocol.classic_workers import ClassicWorkers
from titan_core.protocol.connection_handler import ConnectionHandler
from titan_core.protocol.handlers.approvals import ApprovalHandlers
from titan_core.protocol.handlers.cluster import ClusterHandlers
from titan_core.protocol.handlers.files import FileHandlers
from titan_core.protocol.handlers.graphs import GraphHandlers
from titan_core.protocol.handlers.jobs import JobHandlers
from titan_core.protocol.handlers.kv import KvHandlers
from titan_core.protocol.handlers.logs import LogHandlers
from titan_core.protocol.handlers.schedules import ScheduleHandlers
from titan_core.protocol.handlers.services import ServiceHandlers
from titan_core.protocol.handlers.submissions import SubmissionHandlers
from titan_core.protocol.handlers.table import HandlerTable
from titan_core.protocol.handlers.watching import WatchHandlers
from titan_core.protocol.housekeeping import Chore, Housekeeping, outcome_of_run
from titan_core.protocol.scheduler_server import SchedulerServer, ServerLimits
from titan_core.protocol.services.approvals import ApprovalService
from titan_core.protocol.services.cluster import ClusterService
from titan_core.protocol.services.events import EventService
from titan_core.protocol.services.files import FileService
from titan_core.protocol.services.graphs import GraphService
from titan_core.protocol.services.jobs import JobService
from titan_core.protocol.services.kv import KvService
from titan_core.protocol.services.log_watches import LogWatches
from titan_core.protocol.services.logs import LogService
from titan_core.protocol.services.reruns import RerunService
from titan_core.protocol.services.schedules import ScheduleService
from titan_core.protocol.services.services import ServiceService
from titan_core.protocol.services.settled_jobs import SettledJobsService
from titan_core.protocol.services.submissions import SubmissionService, new_run_id
from titan_core.protocol.services.watching import WatchService
from titan_core.protocol.token_file import obtain_token
from titan_core.protocol.trust import Endpoint, PeerTrust
from titan_core.protocol.worker_session import WorkerSession
from titan_core.scheduling.clock import SystemClock
from titan_core.scheduling.core.commands import RequestMachines
from titan_core.scheduling.core.scheduler_core import CoreLimits, SchedulerCore
from titan_core.scheduling.history_retention import HistoryRetention
from titan_core.scheduling.kv_expiry import KvExpiry
from titan_core.scheduling.provisioner import Provisioner
from titan_core.scheduling.scaler_executor import ScalerExecutor
from titan_core.scheduling.scheduler import Scheduler
from titan_core.storage.sqlite_store import SqliteStore
from titan_core.storage.store import StoreError
from titan_sdk.channel import Channel
from titan_sdk.errors import ConfigError
from titan_sdk.messages import Welcome

log = logging.getLogger(__name__)

JOIN_S: Final = 5.0
_HISTORY_EVERY_S: Final = 3600.0
_CONTENTS_EVERY_S: Final = 6 * 3600.0
"""Between two searches for contents that nothing refers to: each reads the specs of all jobs."""
_OTHER_FILES: Final = 512
"""Descriptors beside those of connections: the journal, logs and contents being read, classic workers being called."""


class MasterNode:
    """Everything of one master process. ``open``, ``start``, ``stop``, in this order and once each."""

    def __init__(self, settings: MasterSettings) -> None:
        self._settings = settings

    def open(self) -> None:
        """Take the port, the token and the data folder, and put the parts together. Nothing runs yet.

        Raises:
            ConfigError, StoreError: one of them cannot be used; the text is one line.
        """
        settings = self._settings
        if settings.provisioner_url and not settings.provisioner_secret:
            raise ConfigError("provisioner_url is set, and provisioner_secret is not: requests are signed with it")
        _allow_files(settings.max_connections + _OTHER_FILES)
        limits = ServerLimits(settings.max_connections, settings.frame_seconds)
        try:
            self._server = SchedulerServer((settings.host, settings.port), self._serve, limits)
        except (OSError, OverflowError, UnicodeError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise ConfigError(f"cannot listen on {settings.host}:{settings.port}: {reason}") from None
        with contextlib.ExitStack() as undo:
            undo.callback(self._server.stop_accepting, JOIN_S)
            token = settings.token or obtain_token(settings.home)
            self._store = SqliteStore(settings.data_dir)
            self._store.open()
            undo.callback(self._store.close)
            self._wire(token, limits)
            undo.pop_all()
        self.port = self._server.port

    def _wire(self, token: str, limits: ServerLimits) -> None:
        settings = self._settings
        contents = ContentStore(settings.data_dir / "content")
        assets = AssetManager(settings.perm_files)
        log_store = LogStore(settings.data_dir / "logs")
        for folder in (contents, assets, log_store):
            try:
                folder.open()
            except OSError as error:
                raise ConfigError(f"cannot use the folder {error.filename}: {error.strerror}") from None
        limits_of_core = CoreLimits(
            finished_jobs_in_memory=settings.finished_jobs_in_memory,
            finished_ms_in_memory=round(settings.finished_days_in_memory * 24 * 3600 * 1000),
            max_workers=settings.max_workers,
            idle_s=settings.idle_seconds,
            busy_percent=settings.scale_busy_percent,
        )
        core = SchedulerCore(limits_of_core)
        clock = SystemClock()
        self._provisioner: Provisioner | None = None
        self._scheduler = Scheduler(
            core, self._store, clock, settings=settings, request_machines=self._request_machines
        )
        self._kv_expiry = KvExpiry(self._scheduler, self._store, clock)
        if settings.provisioner_url:
            secret = settings.provisioner_secret or ""
            self._provisioner = Provisioner(settings.provisioner_url, secret, self._scheduler.post)

        retention = LogRetention(
            settings.data_dir / "logs",
            max_age_s=settings.log_days * 24 * 3600,
            max_bytes=settings.log_total_bytes,
            outcome_of=functools.partial(outcome_of_run, self._store),
        )
        history = HistoryRetention(
            self._scheduler,
            self._store,
            clock,
            max_age_ms=round(settings.history_days * 24 * 3600 * 1000),
            max_jobs=settings.history_jobs,
            forgotten=retention.forget,
        )
        content_retention = ContentRetention(
            contents,
            assets,
            max_age_s=settings.content_days * 24 * 3600,
            unmentioned=self._store.unmentioned_contents,
            publishing_since=self._store.publishing_since,
        )
        self._housekeeping = Housekeeping(
            [
                Chore("old logs are not removed", retention.sweep),
                Chore("old runs are not removed", history.sweep, _HISTORY_EVERY_S),
                Chore("old contents are not removed", content_retention.sweep, _CONTENTS_EVERY_S),
            ]
        )
        files = FileService(assets, contents, self._scheduler.check_room)
        jobs = JobService(self._scheduler, self._store)
        self._logs = LogService(
            self._scheduler, jobs, log_store, Rotation(settings.service_log_bytes, settings.service_log_files)
        )
        self._cluster = ClusterService(self._scheduler)
        self._scaler = ScalerExecutor(
            settings.scale_seconds,
            post=self._scheduler.post,
            measure=self._cluster.loads,
            new_run_id=new_run_id,
        )
        submissions = SubmissionService(self._scheduler, contents, files)
        self._classic_workers = ClassicWorkers(self._scheduler, contents, self._logs, settings.heartbeat_seconds)

        table = HandlerTable()
        JobHandlers(jobs, SettledJobsService(self._scheduler, jobs)).install(table)
        SubmissionHandlers(submissions, files).install(table)
        GraphHandlers(
            GraphService(self._scheduler, self._store, submissions), RerunService(self._store, submissions)
        ).install(table)
        FileHandlers(files).install(table)
        LogHandlers(self._logs).install(table)
        ClusterHandlers(self._cluster, EventService(self._scheduler)).install(table)
        ServiceHandlers(ServiceService(self._scheduler, self._cluster)).install(table)
        ScheduleHandlers(ScheduleService(self._scheduler, submissions, self._store)).install(table)
        ApprovalHandlers(ApprovalService(self._scheduler, self._store)).install(table)
        KvHandlers(KvService(self._scheduler, self._store, clock, self._kv_expiry)).install(table)
        self._log_watches = LogWatches()
        WatchHandlers(WatchService(self._scheduler, self._cluster, self._store), self._log_watches).install(table)
        self._classic_workers.install(table)

        self._trust = PeerTrust(insecure=settings.insecure)
        self._handler = ConnectionHandler(
            table,
            trust=self._trust,
            token=token,
            welcome=Welcome(master_id=self._store.master_id, term=self._store.term, version=__version__),
            new_session=self._new_session,
            limits=limits,
            spoke=self._server.spoke,
        )

    def start(self) -> None:
        """Take up what the journal holds, and serve.

        Raises:
            StoreError: the journal cannot be read.
        """
        self._trust.announce()
        try:
            self._scheduler.start()
        except StoreError:
            self._server.stop_accepting(JOIN_S)
            self._store.close()
            raise
        self._server.start()
        if self._provisioner is not None:
            self._provisioner.start()
        self._scaler.start()
        self._housekeeping.start()
        self._kv_expiry.start()

    def stop(self) -> bool:
        """End in order; False when something did not end in time (the journal is whole all the same)."""
        end = time.monotonic() + self._settings.drain_seconds
        # Nobody new first; then the engine, whose last answers still have their connections; then those.
        self._server.stop_accepting(JOIN_S)
        self._housekeeping.stop()
        self._kv_expiry.stop()
        self._scaler.stop()
        if self._provisioner is not None:
            self._provisioner.stop()
        self._classic_workers.stop()
        in_time = self._scheduler.stop(max(JOIN_S, end - time.monotonic()))
        self._kv_expiry.join(time.monotonic() + JOIN_S)
        self._classic_workers.join(JOIN_S)
        self._scaler.join(time.monotonic() + JOIN_S)
        if self._provisioner is not None:
            self._provisioner.join(time.monotonic() + JOIN_S)
        self._housekeeping.join(time.monotonic() + JOIN_S)
        in_time = self._server.close_connections(max(JOIN_S, end - time.monotonic())) and in_time
        self._store.close()
        return in_time

    def _request_machines(self, request: RequestMachines) -> None:
        if self._provisioner is not None:
            self._provisioner.request(request)

    def _serve(self, sock: socket.socket, address: tuple[Any, ...]) -> None:
        self._handler(sock, address)

    def _new_session(self, channel: Channel, peer: Endpoint) -> WorkerSession:
        return WorkerSession(
            channel,
            peer,
            scheduler=self._scheduler,
            cluster=self._cluster,
            logs=self._logs,
            log_watches=self._log_watches,
            lease_s=self._settings.lease_seconds,
            heartbeat_s=self._settings.heartbeat_seconds,
        )


def _allow_files(wanted: int) -> None:
    """Raise the soft limit of open files as far as the hard one lets us."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:
        log.warning("at most %d files can be open at once: %s", soft, error)
