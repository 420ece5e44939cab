"""What a repair changes in a project: file by file, and never more of it in memory than is shown."""

from __future__ import annotations

import io
import zipfile

from titan_sdk.repair_diff import MAX_SHOWN, _folder_diff


def zipped(**files: bytes) -> bytes:
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(f"{name}.py", data)
    return body.getvalue()


def test_files_that_changed_came_or_went() -> None:
    before = zipped(same=b"1\n", changed=b"a\n", gone=b"old\n")
    after = zipped(same=b"1\n", changed=b"b\n", new=b"new\n")
    lines = list(_folder_diff(before, after))
    assert [line for line in lines if line[:3] in ("---", "+++")] == [
        "--- a/changed.py", "+++ b/changed.py", "--- a/gone.py", "+++ b/gone.py", "--- a/new.py", "+++ b/new.py",
    ]  # fmt: skip
    assert [line for line in lines if line[0] in "+-" and line[1] not in "+-"] == ["-a", "+b", "-old", "+new"]


def test_a_file_that_unpacks_to_very_much_is_only_named() -> None:
    size = MAX_SHOWN + 1
    assert list(_folder_diff(zipped(), zipped(bomb=bytes(size)))) == [f"bomb.py changed: 0 bytes, now {size}"]
