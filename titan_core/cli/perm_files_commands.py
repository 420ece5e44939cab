"""Commands about files."""

from __future__ import annotations

import argparse
from pathlib import Path

from titan_core.cli.command import CommandFailed, argument, command
from titan_core.cli.session import Session
from titan_sdk.messages import ListFiles


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
    before = {file.name for file in session.call(ListFiles()).files}
    if path.is_dir():
        name = session.client.upload_project_folder(path, path.resolve().name)
    else:
        name = session.client.upload_file(path)
    replaced = name in before
    session.show({"uploaded": name, "replaced": replaced}, f"uploaded: {name}{' (replaced)' if replaced else ''}")
