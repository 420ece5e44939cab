"""Commands about files."""

from __future__ import annotations

import argparse
from pathlib import Path

from titan_core.cli.command import CommandFailed, argument, command
from titan_core.cli.session import Session


@command(
    "upload",
    "Put a file into perm_files on the master; a folder is put there as a zip.",
    argument("path"),
    completes="path",
)
def upload(session: Session, given: argparse.Namespace) -> None:
    path = Path(given.path).expanduser()
    if not path.exists():
        raise CommandFailed(f"there is no file {path}")
    if path.is_dir():
        name = session.client.upload_project_folder(path, path.resolve().name)
    else:
        name = session.client.upload_file(path)
    session.show({"uploaded": name}, f"uploaded: {name}")
