"""Contents, registry, logs, archives and sandboxes, on a real file system."""

from __future__ import annotations

import hashlib
import shutil
import stat
import struct
import sys
import threading
import zipfile
from pathlib import Path

import pytest

from titan_core.filesys.asset_manager import AssetManager
from titan_core.filesys.content_store import SMALL_BYTES, ContentStore
from titan_core.filesys.log_store import LogStore
from titan_core.filesys.workspace_manager import KEPT_LOGS, WorkspaceManager
from titan_core.filesys.zip_utils import MAX_DIRECTORY_BYTES, BadArchive, ExtractLimits, entry_names, safe_extract
from titan_core.protocol.worker_state import WorkerState
from titan_core.tasks.script_executor_handler import ScriptExecutorHandler
from titan_sdk.errors import BadRequest, InvalidName, NotFound
from titan_sdk.messages import JobSpec, Lease


def sha(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


# --- contents -----------------------------------------------------------------------------------------------------


@pytest.fixture
def contents(tmp_path: Path) -> ContentStore:
    store = ContentStore(tmp_path / "content")
    store.open()
    return store


def test_content_is_found_by_its_digest(contents: ContentStore, tmp_path: Path) -> None:
    source = tmp_path / "a"
    source.write_bytes(b"one")
    assert contents.put_bytes(b"one") == contents.put_file(source) == sha(b"one")
    assert contents.has(sha(b"one")) and not contents.has(sha(b"two"))
    assert contents.read(sha(b"one"), 1, 10) == b"ne"
    with pytest.raises(NotFound):
        contents.size(sha(b"two"))
    with pytest.raises(InvalidName):
        contents.path("../../etc/passwd")


def test_contents_logs_and_workspaces_are_this_users_alone(contents: ContentStore, tmp_path: Path) -> None:
    LogStore(tmp_path / "logs").open()
    WorkspaceManager(tmp_path / "workspace").open()
    state = WorkerState(tmp_path / "first" / "worker-1")
    state.open()
    state.close()
    names = ("content", "logs", "workspace", "first")
    assert {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in names} == dict.fromkeys(names, 0o700)


def test_upload_goes_on_where_it_stands(contents: ContentStore) -> None:
    data = bytes(range(256)) * 100
    digest, size = sha(data), len(data)
    assert contents.append_upload(digest, size, 0, data[:1000]).received == 1000
    wrong_place = contents.append_upload(digest, size, 5000, data[5000:])
    assert (wrong_place.received, wrong_place.complete) == (1000, False)
    assert contents.append_upload(digest, size, 1000, data[1000:]).complete
    assert contents.read(digest, 0, size + 1) == data
    assert contents.append_upload(digest, size, 0, b"").complete


def test_upload_with_another_digest_is_dropped(contents: ContentStore) -> None:
    digest = sha(b"good")
    with pytest.raises(BadRequest, match=sha(b"evil")):
        contents.append_upload(digest, 4, 0, b"evil")
    assert not contents.has(digest)
    with pytest.raises(BadRequest, match="announced"):
        contents.append_upload(digest, 4, 0, b"toolong")
    assert contents.append_upload(digest, 4, 0, b"good").complete


def test_an_empty_content_can_be_uploaded(contents: ContentStore) -> None:
    assert contents.append_upload(sha(b""), 0, 0, b"").complete
    assert contents.size(sha(b"")) == 0


def test_many_uploaders_of_one_content(contents: ContentStore) -> None:
    data = b"x" * 100_000
    digest = sha(data)

    def upload() -> None:
        state = contents.append_upload(digest, len(data), 0, data[:100])
        while not state.complete:
            piece = data[state.received : state.received + 7_000]
            state = contents.append_upload(digest, len(data), state.received, piece)

    threads = [threading.Thread(target=upload) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert contents.read(digest, 0, len(data)) == data


# --- registry -----------------------------------------------------------------------------------------------------


def test_registry_finds_top_then_folders_then_staged(tmp_path: Path) -> None:
    assets = AssetManager(tmp_path)
    assets.open()
    assets.save("job.py", b"staged", staged=True)
    assert assets.find("job.py").read_bytes() == b"staged"
    (tmp_path / "zebra").mkdir()
    (tmp_path / "zebra" / "job.py").write_bytes(b"folder")
    assert assets.find("job.py").read_bytes() == b"folder"
    assets.save("job.py", b"top")
    assert assets.find("job.py").read_bytes() == b"top"
    assert assets.names() == ["job.py"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/b", "..", "", "nul\0", "pipe|x", "new\nline"])
def test_registry_takes_plain_names_only(tmp_path: Path, name: str) -> None:
    assets = AssetManager(tmp_path / "perm")
    assets.open()
    with pytest.raises(InvalidName):
        assets.save(name, b"")
    with pytest.raises(InvalidName):
        assets.find(name)


# --- logs ---------------------------------------------------------------------------------------------------------


def test_log_pieces_count_once_and_leave_no_gap(tmp_path: Path) -> None:
    logs = LogStore(tmp_path)
    logs.open()
    assert logs.append("run/job", 1, 0, b"hello ") == 6
    assert logs.append("run/job", 1, 0, b"hello ") == 6
    assert logs.append("run/job", 1, 3, b"lo wor") == 9
    assert logs.append("run/job", 1, 50, b"later") == 9
    assert logs.append("run/job", 1, 9, b"ld") == 11
    assert logs.read("run/job", 1, 0, 100) == b"hello world"
    assert logs.read("run/job", 1, 6, 3) == b"wor"
    assert (logs.size("run/job", 2), logs.read("run/job", 2, 0, 9)) == (0, b"")


# --- archives -----------------------------------------------------------------------------------------------------


def zip_with(path: Path, *entries: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped:
        for name, data in entries:
            zipped.writestr(name, data)
    return path


def symlink_entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)
    entry.external_attr = (stat.S_IFLNK | 0o777) << 16
    return entry


@pytest.mark.parametrize(
    "bad",
    ["../evil", "a/../../evil", "/etc/evil", "a//b", "..", "back\\slash", "./x"],
)
def test_entries_that_point_elsewhere_refuse_the_archive(tmp_path: Path, bad: str) -> None:
    (tmp_path / "job").mkdir()
    archive = zip_with(tmp_path / "bad.zip", ("good.py", b"1"), (bad, b"2"))
    with pytest.raises(BadArchive):
        safe_extract(archive, tmp_path / "job" / "project")
    assert list((tmp_path / "job").iterdir()) == []
    assert not (tmp_path / "evil").exists()


def test_links_and_bombs_and_damage_refuse_the_archive(tmp_path: Path) -> None:
    target = tmp_path / "project"
    link = zip_with(tmp_path / "link.zip", (symlink_entry("out"), b"/etc"), ("out/passwd", b"x"))
    with pytest.raises(BadArchive, match="link"):
        safe_extract(link, target)
    bomb = zip_with(tmp_path / "bomb.zip", ("zeros", bytes(2_000_000)))
    with pytest.raises(BadArchive, match="more than 1000000 bytes"):
        safe_extract(bomb, target, ExtractLimits(total_bytes=1_000_000))
    crowd = zip_with(tmp_path / "crowd.zip", *((f"f{i}", b"") for i in range(11)))
    with pytest.raises(BadArchive, match="11 entries"):
        safe_extract(crowd, target, ExtractLimits(entries=10))
    twice = zip_with(tmp_path / "twice.zip", ("a", b"1"), ("a/b", b"2"))
    with pytest.raises(BadArchive, match="two entries"):
        safe_extract(twice, target)
    torn = tmp_path / "torn.zip"
    torn.write_bytes(bomb.read_bytes()[:-30])
    with pytest.raises(BadArchive):
        safe_extract(torn, target)
    flipped = bytearray(bomb.read_bytes())
    flipped[60] ^= 0xFF
    torn.write_bytes(flipped)
    with pytest.raises(BadArchive):
        safe_extract(torn, target)
    assert not target.exists()


def test_the_names_in_an_archive_without_unpacking_it(tmp_path: Path) -> None:
    archive = zip_with(tmp_path / "p.zip", ("src/main.py", b"1"), ("lib.py", b""))
    assert entry_names(archive) == {"src/main.py", "lib.py"}
    with pytest.raises(BadArchive, match="2 entries"):
        entry_names(archive, ExtractLimits(entries=1))
    archive.write_bytes(archive.read_bytes()[:-10])
    with pytest.raises(BadArchive, match="cannot be read as a zip"):
        entry_names(archive)
    directory = b"PK\x01\x02" + bytes(MAX_DIRECTORY_BYTES)
    archive.write_bytes(directory + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 1, 1, len(directory), 0, 0))
    with pytest.raises(BadArchive, match="list of entries"):
        entry_names(archive)


def test_what_an_archive_says_of_its_size_is_enough_to_refuse_it(tmp_path: Path) -> None:
    data = bytearray(zip_with(tmp_path / "p.zip", ("a", b"x" * 100)).read_bytes())
    at = data.rindex(b"PK\x01\x02")
    data[at + 24 : at + 28] = struct.pack("<I", 1001)
    (tmp_path / "p.zip").write_bytes(data)
    with pytest.raises(BadArchive, match="more than 1000 bytes"):
        safe_extract(tmp_path / "p.zip", tmp_path / "project", ExtractLimits(total_bytes=1000))


def test_a_file_takes_no_folders_place(tmp_path: Path) -> None:
    assets = AssetManager(tmp_path)
    assets.open()
    with pytest.raises(InvalidName, match="folder"):
        assets.save("staged", b"")


def test_executables_stay_executable(tmp_path: Path) -> None:
    tool = zipfile.ZipInfo("bin/tool")
    tool.external_attr = (stat.S_IFREG | 0o755) << 16
    safe_extract(zip_with(tmp_path / "p.zip", (tool, b"#!/bin/sh\n")), tmp_path / "project")
    assert (tmp_path / "project/bin/tool").stat().st_mode & 0o777 == 0o755


# --- sandboxes ----------------------------------------------------------------------------------------------------


@pytest.fixture
def workspace(tmp_path: Path) -> WorkspaceManager:
    manager = WorkspaceManager(tmp_path / "titan_workspace")
    manager.open()
    return manager


def lease(attempt: int = 1) -> Lease:
    return Lease(job="run/job", attempt=attempt, epoch=attempt)


def script_file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "content"
    path.write_text(text)
    return path


def test_single_file_runs_in_shared(workspace: WorkspaceManager, tmp_path: Path) -> None:
    sandbox = workspace.prepare(lease(), JobSpec(id="job", file="a.py"), script_file(tmp_path, "1"))
    assert sandbox.script.read_text() == "1"
    assert sandbox.script.parent == sandbox.job_dir == workspace.root / "jobs" / "job"
    assert sandbox.cwd == workspace.shared
    assert sandbox.log == sandbox.job_dir / "job.log"


@pytest.mark.parametrize("removed", ["shared", "jobs"])
def test_what_a_job_removed_is_made_again_for_the_next(
    workspace: WorkspaceManager, tmp_path: Path, removed: str
) -> None:
    first = workspace.prepare(lease(1), JobSpec(id="first", file="a.py"), script_file(tmp_path, "1"))
    shutil.rmtree(workspace.root / removed)
    workspace.release(first.job_dir)
    second = workspace.prepare(lease(2), JobSpec(id="second", file="a.py"), script_file(tmp_path, "2"))
    assert second.cwd.is_dir()
    assert second.script.read_text() == "2"


def test_two_attempts_at_once_do_not_share_a_folder(workspace: WorkspaceManager, tmp_path: Path) -> None:
    spec = JobSpec(id="job", file="a.py")
    first = workspace.prepare(lease(1), spec, script_file(tmp_path, "1"))
    second = workspace.prepare(lease(2), spec, script_file(tmp_path, "2"))
    assert (first.script.read_text(), second.script.read_text()) == ("1", "2")
    workspace.release(first.job_dir)
    third = workspace.prepare(lease(3), spec, script_file(tmp_path, "3"))
    assert third.job_dir == first.job_dir


def test_earlier_logs_are_kept_with_a_number(workspace: WorkspaceManager, tmp_path: Path) -> None:
    spec = JobSpec(id="job", file="job.py")
    for number in range(1, KEPT_LOGS + 5):
        sandbox = workspace.prepare(lease(number), spec, script_file(tmp_path, str(number)))
        assert not sandbox.log.exists()
        sandbox.log.write_text(f"log {number}")
        (sandbox.job_dir / "left behind").mkdir()
        workspace.release(sandbox.job_dir)
    names = {path.name for path in sandbox.job_dir.iterdir()}
    last = KEPT_LOGS + 4
    assert names == {"job.py", "job.log", "left behind"} | {f"job.{n}.log" for n in range(last - KEPT_LOGS, last)}
    assert (sandbox.job_dir / f"job.{last - 1}.log").read_text() == f"log {last - 1}"


def test_project_is_unpacked_for_each_job(workspace: WorkspaceManager, tmp_path: Path) -> None:
    archive = zip_with(tmp_path / "p.zip", ("src/main.py", b"import helper"), ("src/helper.py", b""))
    spec = JobSpec(id="job", file="src/main.py", archive="p.zip")
    sandbox = workspace.prepare(lease(), spec, archive)
    assert sandbox.script == sandbox.cwd / "src/main.py"
    assert (sandbox.cwd / "src/helper.py").exists()
    with pytest.raises(NotFound, match=r"did you mean src/main\.py"):
        workspace.prepare(lease(2), JobSpec(id="other", file="main.py", archive="p.zip"), archive)


def test_a_script_in_the_place_of_its_log_is_refused(workspace: WorkspaceManager, tmp_path: Path) -> None:
    with pytest.raises(InvalidName, match="log"):
        workspace.prepare(lease(), JobSpec(id="job", file="job.log"), script_file(tmp_path, "x"))


# --- what a job costs the disk --------------------------------------------------------------------------------------

_audited: list[str] = []
_auditing: threading.local = threading.local()


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if getattr(_auditing, "on", False) and (event == "open" or event.startswith(("os.", "shutil.", "glob."))):
        _audited.append(event)


def test_a_job_makes_a_folder_and_a_file_and_touches_nothing_else(tmp_path: Path) -> None:
    """Of a small script that was run before; whoever needs more should know it. The log is its supervisor's."""
    workspace = WorkspaceManager(tmp_path / "workspace")
    workspace.open()
    contents = ContentStore(tmp_path / "contents", durable=False)
    contents.open()
    scripts = ScriptExecutorHandler(environment={})
    source = b"print('hello')\n"
    sha256 = contents.put_bytes(source)
    assert contents.small(sha256, len(source)) == source
    sys.addaudithook(_audit)  # for good, hence the switch
    for file, more in (("tiny.py", []), ("tiny.sh", ["open"])):  # a shell script is looked at: does it name a program?
        spec = JobSpec(id=f"job-{file}", file=file, sha256=sha256, size=len(source))
        lease = Lease(job=f"run/job-{file}", attempt=1, epoch=1)
        _audited.clear()
        _auditing.on = True
        try:
            data = contents.small(sha256, len(source))
            sandbox = workspace.prepare(lease, spec, data)
            scripts.launch_request(lease, spec, script=sandbox.script, cwd=sandbox.cwd, log=sandbox.log, env={})
        finally:
            _auditing.on = False
        assert _audited == ["os.mkdir", "open", *more]
        assert sandbox.script.read_bytes() == source


def test_a_workspace_whose_folders_were_removed_is_made_again(tmp_path: Path) -> None:
    workspace = WorkspaceManager(tmp_path / "workspace")
    workspace.open()
    for number, gone in enumerate(("jobs", "shared", ".")):
        shutil.rmtree(tmp_path / "workspace" / gone)
        spec = JobSpec(id=f"job-{number}", file="a.py")
        sandbox = workspace.prepare(Lease(job=f"run/job-{number}", attempt=1, epoch=1), spec, b"1")
        assert sandbox.cwd.is_dir() and sandbox.script.read_bytes() == b"1"


def test_small_contents_are_read_once_and_large_ones_never(tmp_path: Path) -> None:
    contents = ContentStore(tmp_path, durable=False)
    contents.open()
    missing = "0" * 64
    assert contents.small(missing, 1) is None
    sha256 = contents.put_bytes(b"x" * SMALL_BYTES)
    assert contents.small(sha256, SMALL_BYTES) == b"x" * SMALL_BYTES
    contents.path(sha256).unlink()
    assert contents.small(sha256, SMALL_BYTES) is not None
    large = contents.put_bytes(b"x" * (SMALL_BYTES + 1))
    assert contents.small(large, SMALL_BYTES + 1) is None
    assert contents.small(large, 1) is None, "whatever its size is said to be"
