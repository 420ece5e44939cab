"""Amounts of memory, as people write and read them."""

from __future__ import annotations

import pytest

from titan_sdk.errors import InvalidName
from titan_sdk.sizes import MAX_SIZE, format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        (4096, 4096),
        ("512MB", 512 << 20),
        ("1.5 GiB", 3 << 29),
        ("4g", 4 << 30),
        (" 2 TB ", 2 << 40),
        ("7B", 7),
        (f"{MAX_SIZE}", MAX_SIZE),
    ],
)
def test_amounts(text: str | int, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text", ["", "MB", "-1", "1 XB", "1e9", "1_000", "١", "nan", True, f"{MAX_SIZE + 1}", "9" * 99]
)
def test_what_is_none(text: str | int) -> None:
    with pytest.raises(InvalidName, match="no amount of memory"):
        parse_size(text)


@pytest.mark.parametrize(("size", "text"), [(0, "0 bytes"), (1536, "1.5 KB"), (256 << 20, "256 MB"), (5 << 40, "5 TB")])
def test_for_people(size: int, text: str) -> None:
    assert format_size(size) == text
