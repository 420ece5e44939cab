"""The SDK as a distribution of its own: built, installed where there is nothing else of ours, and imported there."""

from __future__ import annotations

import importlib.util
import json
import shutil
import subprocess
import sys
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path

import pytest

import titan_core
import titan_sdk

ROOT = Path(__file__).resolve().parents[3]
LIBRARIES = ("cloudpickle", "cronsim", "tzdata", "msgspec", "yaml", "rich", "pygments", "markdown_it", "mdurl")
"""What the SDK needs, with what that needs."""
PIP = ("--disable-pip-version-check", "--no-input", "-q")
OFFLINE = ("--no-deps", "--no-build-isolation", "--no-index")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "build", "*.egg-info", ".*cache")

CHECK = """
import json, sys
before = set(sys.modules)
import titan_sdk.protocol
light = sorted({name.partition(".")[0] for name in set(sys.modules) - before} & {"msgspec", "rich", "yaml", "socket"})
from titan_sdk import TitanClient, TitanJob
import titan
assert titan.TitanClient is TitanClient and titan.TitanJob is TitanJob
for name in titan_sdk.__all__:
    assert getattr(titan, name) is getattr(titan_sdk, name), name
with TitanClient("127.0.0.1", 1, token="t") as client:
    try:
        client.submit_job(TitanJob("a", __import__("os").__file__))
    except titan.ConnectFailed:
        pass
    else:
        raise AssertionError("there is a master at port 1")
print(json.dumps({
    "version": titan_sdk.__version__, "places": [titan_sdk.__file__, titan.__file__], "light": light,
    "engine": [name for name in sys.modules if name.partition(".")[0] in ("titan_core", "dashboard")],
}))
"""


class CleanEnvironment:
    """A virtual environment with nothing in it but links to the libraries of the one that the tests run in."""

    def __init__(self, folder: Path, libraries: tuple[str, ...]) -> None:
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True, timeout=120)
        self.python = folder / "bin" / "python"
        self.scripts = folder / "bin"
        (self.packages,) = (folder / "lib").glob("python3*/site-packages")
        for name in libraries:
            spec = importlib.util.find_spec(name)
            assert spec is not None and spec.origin is not None, name
            package = Path(spec.origin).parent
            # With what is known of it, where setuptools finds its own plug-ins.
            for place in (package, *package.parent.glob(f"{name}-*.dist-info")):
                (self.packages / place.name).symlink_to(place)

    def pip(self, *arguments: str) -> None:
        run([sys.executable, "-m", "pip", *PIP, "--python", str(self.python), *arguments], self.scripts)

    def check(self, cwd: Path, code: str = CHECK) -> dict[str, object]:
        found: dict[str, object] = json.loads(run([str(self.python), "-I", "-W", "error", "-c", code], cwd))
        return found

    def distribution(self, name: str) -> Distribution:
        (place,) = self.packages.glob(f"{name}-*.dist-info")
        return PathDistribution(place)


def run(command: list[str], cwd: Path) -> str:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A copy of the SDK alone, as building leaves files beside the sources."""
    folder = tmp_path / "source" / "titan_sdk"
    shutil.copytree(ROOT / "titan_sdk", folder, ignore=_LEFT_OUT)
    return folder


def test_one_version() -> None:
    assert titan_sdk.__version__ == titan_core.__version__


def shipped_files(folder: Path) -> set[str]:
    """What belongs into the package, by its path inside of the folder."""
    found = {path.relative_to(folder) for path in folder.rglob("*") if path.suffix in (".py", ".typed", ".json")}
    return {str(path) for path in found if path.parts[0] not in ("titan", "build")}


def test_the_wheel_works_where_nothing_else_of_ours_is(source: Path, tmp_path: Path) -> None:
    run([sys.executable, "-m", "pip", *PIP, "wheel", *OFFLINE, "-w", str(tmp_path / "dist"), "."], source)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    there = CleanEnvironment(tmp_path / "venv", LIBRARIES)
    there.pip("install", *OFFLINE, str(wheel))
    found = there.check(tmp_path)
    places = [there.packages / name / "__init__.py" for name in ("titan_sdk", "titan")]
    assert found == {
        "version": titan_sdk.__version__, "places": [str(place) for place in places], "light": [], "engine": [],
    }  # fmt: skip
    assert (there.scripts / "titan-cli").exists()

    installed = there.packages / "titan_sdk"
    assert shipped_files(installed) == shipped_files(ROOT / "titan_sdk"), "all of it, and nothing else"
    assert (there.packages / "titan" / "py.typed").exists()
    about = there.distribution("titan_sdk")
    assert about.metadata["License"] == "Apache-2.0" or about.metadata["License-Expression"] == "Apache-2.0"
    licence = [file for file in about.files or () if file.name == "LICENSE"]
    assert licence and "Apache License" in licence[0].read_text()
    top_level = (about.read_text("top_level.txt") or "").split()
    assert sorted(top_level) == ["titan", "titan_sdk"], "no module of the folder takes a name of its own"


def test_it_is_installed_editable_beside_the_engine_as_titan_dev_does(source: Path, tmp_path: Path) -> None:
    root = source.parent
    for name in ("setup.cfg", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, root / name)
    shutil.copytree(ROOT / "titan_core", root / "titan_core", ignore=_LEFT_OUT)
    building = ("setuptools", "_distutils_hack")
    there = CleanEnvironment(tmp_path / "venv", (*LIBRARIES, *building, "psutil", "prompt_toolkit", "wcwidth"))
    there.pip("install", *OFFLINE, "-e", str(source), "-e", str(root))
    places = [source / "__init__.py", source / "titan" / "__init__.py"]
    for cwd in (tmp_path, root, source):
        found = there.check(cwd)
        assert found["places"] == [str(place) for place in places]
        assert found["engine"] == []
    assert run([str(there.scripts / "titan"), "--help"], tmp_path).startswith("usage: ")
    (source / "added_later.py").write_text("VALUE = 5\n", encoding="utf-8")
    assert there.check(tmp_path, "import json, titan_sdk.added_later as m; print(json.dumps({'value': m.VALUE}))") == {
        "value": 5
    }


def test_from_the_root_of_the_repository_it_needs_no_installation() -> None:
    code = "import titan_sdk, titan_sdk.titan; print(titan_sdk.__file__, titan_sdk.titan.TitanClient.__module__)"
    assert run([sys.executable, "-c", code], ROOT).split() == [str(ROOT / "titan_sdk/__init__.py"), "titan_sdk.client"]
