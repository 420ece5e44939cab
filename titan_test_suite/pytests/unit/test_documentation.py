"""Documentation that cannot fall behind: settings, commands and paths it names, and those it must name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import titan_core.TitanCli  # noqa: F401 - registers the commands
from titan_core.cli.command import COMMANDS
from titan_core.config import MasterSettings, WorkerSettings, describe
from titan_dev import main as titan_dev
from titan_sdk.titan_yaml_parser import parse_pipeline

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
DOCUMENTS = sorted({*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), ROOT / "perm_files" / "README.md"})


@pytest.mark.parametrize("kind", [MasterSettings, WorkerSettings])
def test_every_setting_is_documented_as_it_is(kind):
    for setting in describe(kind):
        option = f"`{setting.option}`" if setting.option else ""
        default = f"`{setting.default}`" if setting.default else ""
        row = f"| `{setting.name}` | {option} | `{setting.env}` | {default} | {setting.help} |"
        assert row in SETTINGS, f"docs/settings.md lacks the row\n{row}"


def test_no_setting_is_documented_that_does_not_exist():
    known = {setting.option for kind in (MasterSettings, WorkerSettings) for setting in describe(kind)}
    documented = set(re.findall(r"^\| `\w+` \| `(--[\w-]+)`", SETTINGS, re.MULTILINE))
    assert documented <= known


def test_every_variable_the_code_reads_is_documented():
    """Whatever name with TITAN_ stands in the code as a string is a variable somebody could set or find."""
    internal = {"TITAN_RUN_AS_SCRIPT", "TITAN_DEV_ENVIRONMENT"}
    found = set()
    for top in ("titan_sdk", "titan_core", "titan_dev", "dashboard"):
        for path in (ROOT / top).rglob("*.py"):
            found |= set(re.findall(r'"(TITAN_[A-Z_]+)"', path.read_text(encoding="utf-8")))
    missing = sorted(name for name in found - internal if f"`{name}`" not in SETTINGS)
    assert not missing


def test_every_command_of_the_shell_is_in_the_readme():
    section = README.partition("## The shell")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)[^`]*` \|", section, re.MULTILINE)) == {*COMMANDS}


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_readme_shows_how_each_command_is_called(name):
    """The arguments that it wants, in their order; options may be left out."""
    shown = [row.split() for row in re.findall(rf"^\| `({name}(?: [^`]*)?)` \|", README, re.MULTILINE)]
    wanted = COMMANDS[name].brief.split()
    assert any([word for word in row if word != "[-f]"] == wanted for row in shown), (wanted, shown)


def test_every_command_of_titan_dev_is_in_the_readme():
    for name in titan_dev.COMMANDS:
        assert f"| `./titan-dev {name}` |" in README


def test_the_readme_begins_with_the_two_commands():
    blocks = re.findall(r"```console\n(.*?)```", README, re.DOTALL)
    assert blocks[0].split("\n")[:2] == ["./titan-dev demo", "./titan-dev test"]


def test_commands_in_the_documents_name_files_and_commands_that_exist():
    wrong = []
    for document in DOCUMENTS:
        text = document.read_text(encoding="utf-8")
        for program in re.findall(r"python3? (?:\./)?([\w/]+\.py)", text):
            if not (ROOT / program).is_file():
                wrong.append(f"{document.name}: {program}")
        for command in re.findall(r"\./titan-dev (\w+)", text):
            if command not in titan_dev.COMMANDS:
                wrong.append(f"{document.name}: titan-dev {command}")
    assert not wrong


def test_links_lead_somewhere():
    broken = [
        f"{document.relative_to(ROOT)}: {link}"
        for document in DOCUMENTS
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
        if "://" not in link and not (document.parent / link).exists()
    ]
    assert not broken


def test_python_examples_of_the_readme_compile():
    blocks = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(blocks) >= 2
    for block in blocks:
        compile(block, "README.md", "exec")


PIPELINES = [
    pytest.param(block, id=f"{path.name}-{number}")
    for path in (ROOT / "README.md", *sorted(ROOT.glob("docs/*.md")))
    for number, block in enumerate(re.findall(r"```yaml\n(.*?)```", path.read_text(encoding="utf-8"), re.DOTALL))
    if "\njobs:" in f"\n{block}"
]


@pytest.mark.parametrize("text", PIPELINES)
def test_pipelines_in_the_documents_are_valid(text, tmp_path):
    for name in re.findall(r"[\w/-]+\.(?:py|sh|jar)\b", text):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#!/bin/sh\n")
    parse_pipeline(text.encode(), tmp_path / "pipeline.yaml", None)


def test_the_licence_is_the_one_that_is_named():
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")[:200]
    assert "license = Apache-2.0" in (ROOT / "setup.cfg").read_text(encoding="utf-8")


def test_the_changelog_has_an_unreleased_part_and_the_version_of_the_package():
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert "## [Unreleased]" in changes
