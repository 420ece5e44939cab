"""The source of a user's own modules, to be imported where they are not installed.

What is installed (the standard library, site-packages) is expected on the worker; everything else that a function's
module imports, however deep and wherever in it, travels as source. So it works on another Python version too, and
tracebacks show its lines.
"""

from __future__ import annotations

import ast
import importlib.abc
import importlib.machinery
import importlib.util
import os
import site
import sys
import sysconfig
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any, Final

from titan_sdk.errors import InvalidName

MAX_SOURCE_BYTES: Final = 16 * 1024 * 1024
"""Of all modules of one function: more is a project, which travels better as a folder (``is_archive``)."""
_EVERYWHERE: Final = frozenset(
    {"titan_sdk", "titan", "titan_core", "dashboard", "cloudpickle", "__main__", "__mp_main__"}
)
"""On every worker, or not to be imported under that name."""

Source = tuple[str, str, bool]
"""File name, text, and whether it is a package."""


def own_modules(names: Sequence[str], scripts: Sequence[str] = ()) -> dict[str, Source]:
    """The modules of those names that are the user's own, and what they and the ``scripts`` (texts) import of such.

    Raises:
        InvalidName: they are too large.
    """
    found: dict[str, Source] = {}
    left = [part for name in names for part in _with_parents(name)]
    for text in scripts:
        left += _imported(text, "", True)
    size = 0
    while left:
        name = left.pop()
        if name in found:
            continue
        source = _own_source(name)
        if source is None:
            continue
        found[name] = source
        size += len(source[1])
        if size > MAX_SOURCE_BYTES:
            raise InvalidName(
                f"the modules that {names[0] if names else 'the function'} needs are over 16 MiB of source"
            )
        left += _imported(source[1], name, source[2])
    return found


def is_own(name: str) -> bool:
    """Whether the module of that name is the user's own, and travels as source."""
    return _own_source(name) is not None


def _own_source(name: str) -> Source | None:
    if name.partition(".")[0] in _EVERYWHERE or name.partition(".")[0] in sys.stdlib_module_names:
        return None
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is None:
        try:
            spec = importlib.util.find_spec(name)
        except (ImportError, AttributeError, ValueError):  # no module, but a name in one
            return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py") or _is_installed(spec.origin):
        return None
    try:
        return (
            spec.origin,
            importlib.util.decode_source(Path(spec.origin).read_bytes()),
            spec.submodule_search_locations is not None,
        )
    except (OSError, SyntaxError, UnicodeDecodeError):
        return None


def _is_installed(file: str) -> bool:
    path = os.path.realpath(file)
    return any(path.startswith(folder + os.sep) for folder in _installed_folders())


def _installed_folders() -> set[str]:
    paths = sysconfig.get_paths()
    folders = {paths[name] for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    folders |= {*site.getsitepackages(), site.getusersitepackages()}
    return {os.path.realpath(folder) for folder in folders}


def _imported(text: str, name: str, is_package: bool) -> list[str]:
    """Names that may be modules which the source imports."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    package = name if is_package else name.rpartition(".")[0]
    found: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                above = parts[: len(parts) - node.level + 1]
                base = ".".join([*above, *([base] if base else [])])
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
    return [part for each in found if each for part in _with_parents(each)]


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[: number + 1]) for number in range(len(parts)))


class SourceImporter(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Imports modules from their sources, as they came."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self._sources = sources

    def install(self) -> None:
        """Before all other finders: what came along goes before what has the same name here."""
        sys.meta_path.insert(0, self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._sources:
            return None
        file, _, is_package = self._sources[fullname]
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=file, is_package=is_package)
        spec.has_location = True
        return spec

    def get_source(self, fullname: str) -> str:
        return self._sources[fullname][1]

    def is_package(self, fullname: str) -> bool:
        return self._sources[fullname][2]

    def get_code(self, fullname: str) -> CodeType:
        file, text, _ = self._sources[fullname]
        code: CodeType = compile(text, file, "exec", dont_inherit=True)
        return code

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> Any:
        return None
