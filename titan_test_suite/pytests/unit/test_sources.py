"""Where a job's content comes from, and project folders as zips."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from titan_sdk.archive import project_files, zip_folder
from titan_sdk.errors import InvalidName, PipelineError
from titan_sdk.job import TitanJob
from titan_sdk.sources import Source, archive_name, source_of


@pytest.fixture
def project(tmp_path: Path) -> Path:
    folder = tmp_path / "project"
    (folder / "pkg").mkdir(parents=True)
    (folder / "main.py").write_text("import pkg\n", encoding="utf-8")
    (folder / "pkg" / "__init__.py").write_text("", encoding="utf-8")
    return folder


@pytest.fixture
def zipped(project: Path) -> Path:
    path = project.parent / "bundle.zip"
    with zip_folder(project) as made:
        path.write_bytes(made.read())
    return path


def names_in(folder: Path) -> list[str]:
    with zip_folder(folder) as made, zipfile.ZipFile(made) as opened:
        return opened.namelist()


# --- sources --------------------------------------------------------------------------------------------------------


def test_a_file_here_goes_before_one_on_the_master(project: Path) -> None:
    job = TitanJob("a", "main.py", base_dir=project)
    assert source_of(job) == Source("main.py", project / "main.py")
    assert source_of(TitanJob("a", "etl/absent.py", base_dir=project)) == Source("absent.py", None)


def test_a_folder_alone_is_not_a_job(project: Path) -> None:
    with pytest.raises(InvalidName, match="is_archive"):
        source_of(TitanJob("a", project))


@pytest.mark.parametrize("spelling", ["project/main.py", "project", "project/pkg/../main.py"])
def test_a_folder_as_an_archive(project: Path, spelling: str) -> None:
    job = TitanJob("a", spelling, is_archive=True, base_dir=project.parent)
    assert source_of(job) == Source("project.zip", project, "main.py")


def test_a_zip_as_an_archive(zipped: Path) -> None:
    for spelling in ("bundle.zip/pkg/__init__.py", str(zipped / "pkg/__init__.py")):
        job = TitanJob("a", spelling, is_archive=True, base_dir=zipped.parent)
        assert source_of(job) == Source("bundle.zip", zipped, "pkg/__init__.py")
    assert source_of(TitanJob("a", "main.py", archive=zipped)) == Source("bundle.zip", zipped, "main.py")
    assert source_of(TitanJob("a", zipped, is_archive=True)) == Source("bundle.zip", zipped, "main.py")


def test_a_zip_on_the_master() -> None:
    job = TitanJob("a", "absent.zip/sub/run.py", is_archive=True)
    assert source_of(job) == Source("absent.zip", None, "sub/run.py")


@pytest.mark.parametrize(
    ("spelling", "said"),
    [
        ("absent.zip", "say which file of it is to run, as in absent.zip/path/entry.py"),
        ("absent/run.py", "there is no zip or folder"),
        ("run.py", "names no archive"),
        ("project/mian.py", "did you mean 'main.py'?"),
        ("project/init.py", "there is no file init.py"),
        ("project/deep/main.py", "did you mean 'main.py'?"),
        ("project/../secret.py", "'..'"),
        ("project/pkg", "pkg has no __main__.py and no main.py"),
        ("bundle.zip/nothing.py", "there is no file nothing.py"),
        ("broken.zip/main.py", "cannot be read as a zip"),
        ("empty", "has no __main__.py and no main.py"),
    ],
)
def test_an_archive_that_makes_no_sense_says_what_was_looked_for(
    project: Path, zipped: Path, spelling: str, said: str
) -> None:
    (project.parent / "broken.zip").write_bytes(b"no zip at all")
    (project.parent / "empty").mkdir()
    with pytest.raises(InvalidName) as caught:
        source_of(TitanJob("a", spelling, is_archive=True, base_dir=project.parent))
    assert said in str(caught.value)


def test_another_worker_has_no_content() -> None:
    assert source_of(TitanJob("w", "Worker.jar", port=8090)) is None


def test_names_of_archives(tmp_path: Path) -> None:
    for folder, name in (("proj", "proj.zip"), ("done.zip", "done.zip"), ("a|b", "a_b.zip")):
        (tmp_path / folder).mkdir()
        assert archive_name(tmp_path / folder) == name


# --- zips -----------------------------------------------------------------------------------------------------------


def test_the_same_files_are_the_same_bytes(project: Path) -> None:
    with zip_folder(project) as first:
        before = first.read()
    for path in project.rglob("*"):
        os.utime(path, (0, 2_000_000_000))
    (project / "__pycache__").mkdir()
    (project / "__pycache__" / "main.pyc").write_bytes(b"x")
    with zip_folder(project) as second:
        assert second.read() == before
    (project / "main.py").write_text("import pkg  # changed\n", encoding="utf-8")
    with zip_folder(project) as third:
        assert third.read() != before


def test_what_belongs_to_tools_and_machines_stays_at_home(project: Path) -> None:
    for name in (".git", "__pycache__", ".venv", "titan_data", "pkg/.mypy_cache"):
        (project / name).mkdir()
        (project / name / "file").write_text("x", encoding="utf-8")
    (project / "old.pyc").write_bytes(b"x")
    (project / ".env").write_text("kept", encoding="utf-8")
    assert names_in(project) == [".env", "main.py", "pkg/__init__.py"]


def test_empty_folders_and_the_executable_bit_travel(project: Path, tmp_path: Path) -> None:
    (project / "out").mkdir()
    (project / "tool.sh").write_text("#!/bin/sh\n", encoding="utf-8")
    (project / "tool.sh").chmod(0o700)
    (project / "secret").write_text("x", encoding="utf-8")
    (project / "secret").chmod(0o600)
    with zip_folder(project) as made, zipfile.ZipFile(made) as opened:
        modes = {entry.filename: entry.external_attr >> 16 & 0o777 for entry in opened.infolist()}
        assert opened.testzip() is None
    assert (modes["out/"], modes["tool.sh"], modes["secret"], modes["main.py"]) == (0o755, 0o755, 0o644, 0o644)


def test_links_inside_are_what_they_lead_to(project: Path) -> None:
    (project / "link.py").symlink_to("main.py")
    (project / "again").symlink_to("pkg")
    files = project_files(project)
    assert files["link.py"] == project / "main.py"
    assert files["again/__init__.py"] == project / "pkg" / "__init__.py"


def test_everything_that_cannot_travel_is_named(project: Path) -> None:
    (project / "out").symlink_to("/etc/passwd")
    (project / "dangling").symlink_to("nowhere")
    (project / "pkg" / "up").symlink_to("..")
    (project / "a|b").write_text("", encoding="utf-8")
    os.mkfifo(project / "pipe")
    with pytest.raises(PipelineError) as caught:
        project_files(project)
    problems = {problem.where or "name": problem.text for problem in caught.value.problems}
    assert set(problems) == {"out", "dangling", "pkg/up", "pipe", "name"}
    assert "leaves the folder" in problems["out"] and "leads nowhere" in problems["dangling"]
    assert "a folder that it is in" in problems["pkg/up"] and "'|'" in problems["name"]


def test_a_zipped_project_runs(project: Path, zipped: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(zipped) as opened:
        opened.extractall(tmp_path / "there")
    subprocess.run([sys.executable, "main.py"], cwd=tmp_path / "there", timeout=60, check=True)
