"""For the script that repairs a failed job: what failed, and what to change."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from titan_sdk.archive import zip_folder
from titan_sdk.job import Argument, split_args
from titan_sdk.job_context import output
from titan_sdk.steady import patiently
from titan_sdk.uploads import Content, content_of_file, content_of_path


@dataclass(frozen=True)
class Failure:
    """The job that failed.

    Attributes:
        job: its key. number: of this repair, from 1. attempt: the one that failed.
        exit_code: minus the signal number when a signal ended it; None when it has none. reason: why it failed.
        source: the folder with its script, or all files of its project. file: the script in it. log: what it printed.
        args, env: as it was given them.
    """

    job: str
    number: int
    attempt: int
    exit_code: int | None
    reason: str
    source: Path
    file: Path
    log: Path
    args: list[str]
    env: dict[str, str]
    archive: str


def failure() -> Failure:
    """What failed.

    Raises:
        RuntimeError: this is no repair job.
    """
    folder = os.environ.get("TITAN_REPAIR_DIR")
    if not folder:
        raise RuntimeError("TITAN_REPAIR_DIR is not set: this is for scripts that repair a failed job of Titan")
    root = Path(folder)
    facts: dict[str, Any] = json.loads((root / "failure.json").read_text(encoding="utf-8"))
    file = root / facts.pop("file")
    return Failure(source=root / "source", log=root / "log", file=file, **facts)


def repair(
    file: str | os.PathLike[str] | None = None,
    *,
    args: str | Iterable[Argument] | None = None,
    env: Mapping[str, Argument] | None = None,
    note: str = "",
) -> None:
    """Propose to try the failed job again with this; it counts once this script has ended well.

    Args:
        file: the repaired script, wherever it lies. Of a project, ``failure().file`` is replaced with it, and the whole
            folder ``failure().source`` travels, so other files may be changed in place.
        args: the new arguments. env: variables to add to the job's. note: what was done and why, for people.

    Raises:
        RuntimeError: this is no repair job. OSError: the file cannot be read. TitanError: the master does not take it.
    """
    failed = failure()
    change: dict[str, Any] = {"note": note}
    if args is not None:
        change["args"] = split_args(args)
    if env:
        change["env"] = {str(name): str(value) for name, value in env.items()}
    if file is not None:
        path = Path(file)
        if not failed.archive:
            _upload(content_of_path(path, ""), change)
        else:
            if path.resolve() != failed.file.resolve():
                shutil.copyfile(path, failed.file)
            with zip_folder(failed.source) as zipped:
                _upload(content_of_file(zipped, ""), change)
    output(titan_repair=change)


def _upload(content: Content, change: dict[str, Any]) -> None:
    from titan_sdk.client import TitanClient  # it takes time to load, and few scripts need it

    with TitanClient() as client:
        patiently(lambda: client.stage_content(content))
    change["sha256"], change["size"] = content.sha256, content.size
