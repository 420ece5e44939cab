"""Who decides what to change about a script that failed: rules, or a language model when there is one to ask."""

from __future__ import annotations

import json
import os
import re
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

ANSWER_S = 120.0


@dataclass(frozen=True)
class Failure:
    """What is known of a failed attempt. ``exit_code``: minus the signal's number when one ended it."""

    source: str
    logs: str
    exit_code: int | None
    reason: str


@dataclass(frozen=True)
class Patch:
    """What to try next: another source, and variables to add to its environment. ``why``: in a sentence."""

    source: str
    why: str
    env: dict[str, str] = field(default_factory=dict)


class Brain(Protocol):
    def fix(self, failure: Failure) -> Patch | None:
        """What to change; None when nothing comes to mind."""


class Rules:
    """The same failure gets the same patch: a table of what a log line means and what to do about it."""

    STANDARD_INSTEAD: ClassVar = {"json": "json", "yaml": "json", "path": "pathlib"}
    """A part of a missing module's name, and the module of the standard library that stands in for it."""

    def __init__(self) -> None:
        self._rules: list[tuple[str, Callable[[re.Match[str], Failure], Patch | None]]] = [
            (r"No module named '(\w+)'", self._missing_module),
            (r"line (\d+), in .*\n(?:.*\n)*?ValueError: invalid literal for int\(\)", self._bad_number),
        ]

    def fix(self, failure: Failure) -> Patch | None:
        if failure.exit_code == -11:
            return Patch(failure.source, "the native engine crashed: use the other one", {"REPORT_ENGINE": "python"})
        for pattern, patch in self._rules:
            found = re.search(pattern, failure.logs)
            if found:
                return patch(found, failure)
        return None

    def _missing_module(self, found: re.Match[str], failure: Failure) -> Patch | None:
        name = found[1]
        for part, instead in self.STANDARD_INSTEAD.items():
            if part in name:
                source = re.sub(rf"\bimport {name}\b", f"import {instead}", failure.source)
                return Patch(source, f"{name} is not installed: use {instead}")
        return None

    def _bad_number(self, found: re.Match[str], failure: Failure) -> Patch:
        lines = failure.source.splitlines(keepends=True)
        number = int(found[1]) - 1
        line = lines[number]
        indent = line[: len(line) - len(line.lstrip())]
        lines[number] = f"{indent}try:\n{indent}    {line.lstrip()}{indent}except ValueError:\n{indent}    continue\n"
        return Patch("".join(lines), f"a value in line {number + 1} is no number: leave such rows out")


class LanguageModel:
    """Any endpoint that speaks the widespread chat-completions format.

    LLM_URL is its address, as https://host/v1/chat/completions; LLM_MODEL and LLM_API_KEY when it wants them.
    """

    ASK = (
        "A Python script failed. Answer with the whole corrected script in one ```python block, and nothing else.\n\n"
        "The script:\n```python\n{source}\n```\n\nHow it ended: {reason} (exit code {exit_code})\n\n"
        "What it printed:\n{logs}\n"
    )

    def __init__(self, url: str, model: str = "", key: str = "") -> None:
        self._url = url
        self._model = model
        self._key = key

    def fix(self, failure: Failure) -> Patch | None:
        text = self.ASK.format(
            source=failure.source, reason=failure.reason, exit_code=failure.exit_code, logs=failure.logs[-8000:]
        )
        body = {"messages": [{"role": "user", "content": text}], **({"model": self._model} if self._model else {})}
        request = urllib.request.Request(
            self._url, json.dumps(body).encode(), {"Content-Type": "application/json", **self._authorization()}
        )
        with urllib.request.urlopen(request, timeout=ANSWER_S) as answer:
            said = json.load(answer)["choices"][0]["message"]["content"]
        script = re.search(r"```(?:python)?\n(.*?)```", said, re.DOTALL)
        return Patch(script[1], "the language model's correction") if script else None

    def _authorization(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}"} if self._key else {}


def brain_of_environment() -> Brain:
    """The language model behind LLM_URL, or the rules when that is not set."""
    url = os.environ.get("LLM_URL")
    if not url:
        return Rules()
    return LanguageModel(url, os.environ.get("LLM_MODEL", ""), os.environ.get("LLM_API_KEY", ""))
