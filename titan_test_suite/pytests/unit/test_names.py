"""Names from outside: what may be one, and that what may not is refused with a text that shows it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from titan_sdk.errors import InvalidName
from titan_sdk.names import (
    check_capability,
    check_file_name,
    check_job_id,
    check_port,
    check_relative_path,
    check_sha256,
)


@pytest.mark.parametrize("name", ["a", "DAG-extract", "step 1", "Überlauf", "日本", "-rf", "a.b", "x" * 180])
def test_job_ids(name: str) -> None:
    assert check_job_id(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "", ".", "..", "../up", "a/b", "a\\b", "a|b", "a;b", "a,b", "[a]", 'a"b', "a'b", "a`b", "<b>", " a", "a ",
        "a\n", "a\tb", "a\0b", "a\x1b[31m", "\u202ea", "a\u2028b", "\ud800", "x" * 181, "é" * 91,
    ],
)  # fmt: skip
def test_refused_job_ids(name: str) -> None:
    with pytest.raises(InvalidName):
        check_job_id(name)


def test_a_refusal_names_the_character_and_what_it_is_about() -> None:
    with pytest.raises(InvalidName, match=r"the parent 'a;b' holds ';'"):
        check_job_id("a;b", "parent")


@pytest.mark.parametrize("name", ["a.py", "run", "...", "my file.txt", "..hidden", "C:x", "-x", "é" * 127])
def test_file_names(name: str) -> None:
    assert check_file_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/etc/passwd", "..\\x", "a|b", "a\0", "a\nb", "é" * 128])
def test_refused_file_names(name: str) -> None:
    with pytest.raises(InvalidName):
        check_file_name(name)


@pytest.mark.parametrize("path", ["a.py", "src/deep/a.py", ".config/x"])
def test_relative_paths(path: str) -> None:
    assert check_relative_path(path) == path


@pytest.mark.parametrize("path", ["", "/a", "a/", "a//b", "./a", "a/../b", "..", "a/b\0", "a/b|c"])
def test_refused_relative_paths(path: str) -> None:
    with pytest.raises(InvalidName):
        check_relative_path(path)


@pytest.mark.parametrize("name", ["GENERAL", "GPU", "HIGH_MEM", "cuda:12.1", "gpu-a100", "c++", "8"])
def test_capabilities(name: str) -> None:
    assert check_capability(name) == name


@pytest.mark.parametrize("name", ["", "TWO WORDS", "GPU,CPU", "[GPU]", "-GPU", "GPU\n", "é", "x" * 65])
def test_refused_capabilities(name: str) -> None:
    with pytest.raises(InvalidName):
        check_capability(name)


def test_ports() -> None:
    assert [check_port(port) for port in (1, 8080, 65535)] == [1, 8080, 65535]
    assert check_port(0, zero=True) == 0
    checks: list[Callable[[], int]] = [
        lambda: check_port(0),
        lambda: check_port(-1, zero=True),
        lambda: check_port(65536),
    ]
    for check in checks:
        with pytest.raises(InvalidName, match="out of range"):
            check()


def test_digests() -> None:
    assert check_sha256("0" * 64) == "0" * 64
    for digest in ("", "0" * 63, "0" * 65, "A" * 64, "g" * 64, "0" * 64 + "\n"):
        with pytest.raises(InvalidName):
            check_sha256(digest)
