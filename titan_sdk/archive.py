"""A project folder as one zip: the same files give the same bytes, so an unchanged project travels once."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from titan_sdk.errors import InvalidName, PipelineError, Problem
from titan_sdk.names import check_relative_path

EXCLUDED: Final = frozenset(
    {
        *("__pycache__", ".git", ".hg", ".svn", ".venv", ".DS_Store"),
        *(".mypy_cache", ".pytest_cache", ".ruff_cache"),
        *("titan_data", "titan_workspace"),
    }
)
"""Files and folders by these names stay at home: they belong to tools and machines, not to the project."""
EXCLUDED_SUFFIXES: Final = (".pyc", ".pyo")
MAX_FILES: Final = 50_000
"""What a worker unpacks at most; more is not a project but a slip of the path."""
MAX_BYTES: Final = 4 * 1024**3
_EPOCH: Final = (1980, 1, 1, 0, 0, 0)
"""The oldest time a zip can say: when a file was written makes no difference."""
_ZIP64_FROM: Final = 1 << 30
_SHOWN_PROBLEMS: Final = 20


def is_excluded(name: str) -> bool:
    """Whether an entry of that plain name, and everything below it, stays at home."""
    return name in EXCLUDED or name.endswith(EXCLUDED_SUFFIXES)


def project_files(folder: Path) -> dict[str, Path]:
    """What goes into the zip: name in it (``/`` between parts, ``/`` at the end of an empty folder) to place on disk.

    A symbolic link counts as what it leads to.

    Raises:
        PipelineError: what cannot travel, all of it: links that leave the folder, lead nowhere or back to a folder they
            are in, special files, names that no worker takes; or more than MAX_FILES files or MAX_BYTES bytes.
        OSError: the folder cannot be read.
    """
    root = folder.resolve(strict=True)
    if not root.is_dir():
        raise NotADirectoryError(f"{folder} is not a folder")
    files: dict[str, Path] = {}
    problems: list[Problem] = []
    size = 0
    for name, path in _walk(root, root, "", (root,), problems):
        files[name] = path
        size += 0 if name.endswith("/") else path.stat().st_size
        if len(files) > MAX_FILES or size > MAX_BYTES:
            limit = f"{MAX_FILES} files or {MAX_BYTES >> 30} GiB"
            raise PipelineError([Problem("", f"it holds more than {limit}; is it the right folder?")], str(folder))
        if len(problems) >= _SHOWN_PROBLEMS:
            break
    if problems:
        raise PipelineError(problems, str(folder))
    return dict(sorted(files.items()))


def _walk(
    root: Path, folder: Path, prefix: str, above: tuple[Path, ...], problems: list[Problem]
) -> Iterator[tuple[str, Path]]:
    empty = True
    for entry in sorted(os.scandir(folder), key=lambda each: each.name):
        if is_excluded(entry.name):
            continue
        empty = False
        name = prefix + entry.name
        try:
            check_relative_path(name)
            real = Path(entry.path).resolve(strict=True)
            mode = real.stat().st_mode
        except InvalidName as error:
            problems.append(Problem("", str(error)))
            continue
        except (FileNotFoundError, RuntimeError, OSError) as error:
            reason = "leads nowhere" if entry.is_symlink() else str(error)
            problems.append(Problem(name, f"the symbolic link {reason}" if entry.is_symlink() else reason))
            continue
        if not real.is_relative_to(root):
            problems.append(Problem(name, f"the symbolic link leaves the folder: it leads to {real}"))
        elif stat.S_ISDIR(mode):
            if real in above:
                problems.append(Problem(name, "the symbolic link leads to a folder that it is in"))
            else:
                yield from _walk(root, real, name + "/", (*above, real), problems)
        elif stat.S_ISREG(mode):
            yield name, real
        else:
            problems.append(Problem(name, "it is neither a file nor a folder"))
    if empty and prefix:
        yield prefix, folder


def zip_folder(folder: Path) -> BinaryIO:
    """A zip of the folder as a temporary file that has no name and is gone once closed; it stands at its beginning.

    Sorted, with one fixed time and only the executable bit of permissions.

    Raises:
        PipelineError, OSError: as project_files.
    """
    files = project_files(folder)
    target = tempfile.TemporaryFile(prefix="titan-")  # noqa: SIM115 - the caller's from here on
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as zipped:
            for name, path in files.items():
                _add(zipped, name, path)
        target.seek(0)
    except BaseException:
        target.close()
        raise
    return target


def _add(zipped: zipfile.ZipFile, name: str, path: Path) -> None:
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, whose modes follow
    if name.endswith("/"):
        entry.external_attr = (stat.S_IFDIR | 0o755) << 16 | 0x10
        zipped.writestr(entry, b"")
        return
    with path.open("rb") as content:
        status = os.fstat(content.fileno())
        executable = bool(status.st_mode & 0o111)
        entry.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        with zipped.open(entry, "w", force_zip64=status.st_size >= _ZIP64_FROM) as place:
            shutil.copyfileobj(content, place, 1024 * 1024)
