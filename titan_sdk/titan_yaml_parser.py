"""Pipeline files: YAML in, a Pipeline of TitanJobs out, or everything that is wrong with it, each with its line."""

from __future__ import annotations

import difflib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from titan_sdk.archive import is_excluded, project_files
from titan_sdk.classic_jobs import WORKER_FILES
from titan_sdk.dag import validate_dag
from titan_sdk.errors import ExpressionError, InvalidName, PipelineError, Problem
from titan_sdk.expressions import expression
from titan_sdk.job import HANDLERS, TitanJob
from titan_sdk.messages import DEFAULT_FLOW, FlowSpec, JobSpec, Recurrence, RunOptions
from titan_sdk.pipeline_keys import JOB_KEYS, PIPELINE_KEYS, Bad, Key, in_words, misspelt
from titan_sdk.pipeline_params import Params
from titan_sdk.sources import explain, suggestion
from titan_sdk.yaml_lines import List, Map, Node, Text, printable, read_yaml

SUFFIXES: Final = (".yaml", ".yml")
PREFERRED: Final = ("titan.yaml", "titan.yml", "pipeline.yaml", "pipeline.yml")
"""Which of several files in a folder is its pipeline, when one of them bears such a name."""
MAX_PROBLEMS: Final = 200
"""Nobody reads more; what remains shows at the next try."""
_NOTHING_GIVEN: Final[Mapping[str, str]] = {}
_MAX_SUGGESTED: Final = 20
"""Unknown parents for which the likeliest of all ids is looked for; that takes its time with thousands of jobs."""
_MAX_LISTED: Final = 5000
"""Files of a folder that are looked through for the one that was probably meant."""


@dataclass(frozen=True)
class Pipeline:
    """A pipeline as its file describes it.

    Attributes:
        name: what its runs are called; the folder's name when the file gives none.
        jobs: in the order of the file, each with its ``line``.
        path: the file. folder: what the files of its jobs are relative to.
        project: the whole folder travels as one zip, and the files are entries in it.
        params: values of its parameters, defaults included.
        schedule: when it is run, again and again; None: once, when it is deployed.
        fail_fast: whether its runs end what is left when a job has failed.
    """

    name: str
    jobs: tuple[TitanJob, ...]
    path: Path
    folder: Path
    project: bool = False
    params: Mapping[str, str] = field(default_factory=dict)
    schedule: Recurrence | None = None
    fail_fast: bool = False

    @property
    def options(self) -> RunOptions | None:
        """What is asked for of its runs as a whole, beside the parameters."""
        return RunOptions(fail_fast=True) if self.fail_fast else None


def find_pipeline(path: str | os.PathLike[str]) -> Path:
    """The pipeline file at a path: the file itself, or the one in a folder.

    Raises:
        FileNotFoundError: there is nothing at the path.
        PipelineError: the folder holds no pipeline file, or several and none of a PREFERRED name.
    """
    place = Path(path)
    if not place.is_dir():
        if not place.exists():
            raise FileNotFoundError(2, "there is no such file or folder", str(place))
        return place
    found = sorted(each.name for each in place.iterdir() if each.suffix.lower() in SUFFIXES and each.is_file())
    names = [name for name in PREFERRED if name in found][:1] or found
    if not names:
        raise PipelineError([Problem("", "the folder holds no pipeline, no *.yaml or *.yml")], str(place))
    if len(names) > 1:
        text = f"the folder holds several pipelines ({', '.join(names)}); name one of them, or call it {PREFERRED[0]}"
        raise PipelineError([Problem("", text)], str(place))
    return place / names[0]


def load_pipeline(path: str | os.PathLike[str], params: Mapping[str, str] | None = _NOTHING_GIVEN) -> Pipeline:
    """The pipeline in a file, or in the one pipeline file of a folder. ``params``: see parse_pipeline.

    Raises:
        PipelineError: everything that is wrong, each with its line.
        OSError: it is not there or cannot be read.
    """
    file = find_pipeline(path)
    return parse_pipeline(file.read_bytes(), file, params)


def parse_pipeline(
    data: bytes, path: str | os.PathLike[str], params: Mapping[str, str] | None = _NOTHING_GIVEN
) -> Pipeline:
    """The pipeline in the bytes of the file ``path``, whose folder holds the files of the jobs.

    Args:
        params: values of its parameters; None when it is only looked at, and need not be complete.

    Raises:
        PipelineError: everything that is wrong, each with its line, in the order of the lines.
    """
    source = os.fspath(path)
    try:
        root = read_yaml(data)
    except PipelineError as error:
        raise PipelineError(error.problems, source) from None
    return TitanYamlParser(Path(path), params).pipeline(root)


class TitanYamlParser:
    """Turns the tree of one pipeline file into a Pipeline; gathers problems until all of it has been seen."""

    def __init__(self, path: Path, params: Mapping[str, str] | None = _NOTHING_GIVEN) -> None:
        self._given = params
        self._params = Params({}, params)
        self._path = path
        self._folder = path.parent
        self._problems: list[Problem] = []
        self._files = _Files(self._folder)

    def pipeline(self, root: Node | None) -> Pipeline:
        """Raises PipelineError with everything that is wrong."""
        if root is None:
            raise self._refusal(Problem("", "the file is empty; a pipeline has a name and jobs", 1))
        if not isinstance(root, Map):
            raise self._refusal(Problem("", f"a pipeline is a map with name and jobs, not {in_words(root)}", root.line))
        values, lines = self._read(root, PIPELINE_KEYS, "")
        declared = values.get("params", {})
        line = next((key.line for key, _ in root.pairs if key.text == "params"), 0)
        self._params = Params(declared, self._given, line)
        self._problems += self._params.problems()
        if "schedule" in values and "every" in values:
            self._problem("", "every: an interval and schedule cannot both be there", lines["every"])
        project = bool(values.get("project", False))
        if project:
            self._files.pack(self._problems, next(key.line for key, _ in root.pairs if key.text == "project"))
        lists: list[tuple[str, Node]] = [(key, values[key]) for key in ("jobs", *HANDLERS) if key in values]
        jobs = self._jobs(lists, project)
        if not any(key.text == "jobs" for key, _ in root.pairs):
            self._problem("", "the key jobs is missing; it lists what is to run", root.line)
        if self._problems:
            raise self._refusal(*sorted(self._problems, key=lambda problem: problem.line))
        name = values.get("name") or _printable(self._folder.resolve().name) or "pipeline"
        schedule = values.get("schedule") or values.get("every")
        params, fail_fast = self._params.values, bool(values.get("fail_fast", False))
        return Pipeline(name, tuple(jobs), self._path, self._folder, project, params, schedule, fail_fast)

    def _jobs(self, lists: list[tuple[str, Node]], project: bool) -> list[TitanJob]:
        """The jobs of all lists; those beside ``jobs`` are for the end of the run."""
        described: list[_Described] = []
        for key, listed in lists:
            if not isinstance(listed, List) or not listed.items:
                what = in_words(listed) if not isinstance(listed, List) else "an empty one"
                self._problem("", f"{key}: a list is wanted, one job after each dash, not {what}", listed.line)
                continue
            found = [self._described(node, number) for number, node in enumerate(listed.items, 1)]
            for each in found:
                if each is not None and key in HANDLERS:
                    each.values.setdefault("handler", key)
                if each is not None:
                    described.append(each)
        if described:
            self._link_failures(described)
            self._check_graph(described)
        made = [self._made(each, project) for each in described]
        return [job for job in made if job is not None]

    def _link_failures(self, described: list[_Described]) -> None:
        """``on_failure`` of a job names jobs that run when it has failed: it is a parent of theirs."""
        by_id = {each.where: each for each in described}
        for each in described:
            if isinstance(each.values.get("on_failure"), dict):
                continue  # it is repaired
            for target_id, line in each.values.pop("on_failure", ()):
                target = by_id.get(target_id)
                if target is None:
                    self._problem(each.where, f"on_failure: {target_id!r} is not a job of this pipeline", line)
                elif target.values.setdefault("trigger", "one_failed") != "one_failed":
                    text = f"on_failure: {target_id} has the trigger {target.values['trigger']}; leave that out"
                    self._problem(each.where, text, line)
                else:
                    target.values["parents"] = [*target.values.get("parents", ()), (each.where, line)]

    def _described(self, node: Node, number: int) -> _Described | None:
        if not isinstance(node, Map):
            text = f"a job is a map with id and file, not {in_words(node)}"
            self._problem(f"job {number}", text, node.line)
            return None
        before = len(self._problems)
        ids = (value.text for key, value in node.pairs if key.text == "id" and isinstance(value, Text))
        where = next(ids, "") or f"job {number}"
        values, lines = self._read(node, JOB_KEYS, where)
        found = _Described(where, node.line, values, lines)
        if "id" not in lines:
            self._problem(where, "it has no id", node.line)
        if "file" not in lines and values.get("kind") != "worker":
            self._problem(where, "it has no file to run", node.line)
        if values.get("kind") == "run" and values.get("port"):
            self._problem(where, "a job of type run has no port; a service has", lines["port"])
        found.sound = len(self._problems) == before
        return found

    def _read(self, node: Map, keys: dict[str, Key], where: str) -> tuple[dict[str, Any], dict[str, int]]:
        """The values of the keys that could be read, and the lines of all known ones, by the keys' first names."""
        values: dict[str, Any] = {}
        lines: dict[str, int] = {}
        spelt: dict[str, str] = {}
        for key, value in node.pairs:
            known = keys.get(key.text)
            if known is None:
                self._problem(where, f"unknown key {_short(key.text)}{misspelt(key.text, keys)}", key.line)
                continue
            if known.field in lines:
                earlier = spelt[known.field]
                same = "" if earlier == key.text else f" is the same as {earlier}, which"
                text = f"the key {key.text}{same} stands in line {lines[known.field]} already"
                self._problem(where, text, key.line)
                continue
            lines[known.field] = key.line
            spelt[known.field] = key.text
            try:
                values[known.field] = known.read(value)
            except Bad as bad:
                for text, line in bad.problems:
                    self._problem(where, f"{key.text}: {text}", line)
        return values, lines

    def _check_graph(self, described: list[_Described]) -> None:
        """Ids used twice, parents that are no jobs, cycles: of all jobs that have an id, whatever else is wrong."""
        ids = dict.fromkeys(each.where for each in described)  # those that are no good ids are meant by somebody too
        parents: set[str] = set()
        unknown = 0
        for each in described:
            for parent, line in each.values.get("parents", ()):
                if parent not in ids:
                    unknown += 1
                    close = difflib.get_close_matches(parent, ids, n=1) if unknown <= _MAX_SUGGESTED else []
                    meant = f"; did you mean {close[0]!r}?" if close else ""
                    self._problem(each.where, f"its parent {parent!r} is not a job of this pipeline{meant}", line)
                parents.add(parent)
        named = [each for each in described if "id" in each.values]
        specs = [
            JobSpec(
                id=each.where,
                file="-",
                parents=each.parents,
                flow=FlowSpec(
                    trigger=each.values.get("trigger", DEFAULT_FLOW.trigger),
                    handler=each.values.get("handler", DEFAULT_FLOW.handler),
                ),
            )
            for each in named
        ]
        if specs:
            self._problems += validate_dag(specs, lines=[each.lines["id"] for each in named], known=parents)

    def _made(self, described: _Described, project: bool) -> TitanJob | None:
        values, line = dict(described.values), described.line
        worker = values.get("kind") == "worker" or (not project and values.get("file") in WORKER_FILES)
        if worker:
            values.setdefault("file", "Worker.jar")
        elif "file" in values:
            reason = self._files.problem(values["file"])
            if reason:
                self._problem(described.where, reason, described.lines["file"])
                return None
        for key in ("args", "env"):
            for text in self._params.unknown(values.get(key, ())):
                self._problem(described.where, f"{key}: {text}", described.lines[key])
                described.sound = False
        if "on_failure" in values:
            reason = self._files.problem(values["on_failure"]["repair"])
            if reason:
                self._problem(described.where, reason, described.lines["on_failure"])
                return None
        if not described.sound:
            return None
        values["parents"] = described.parents
        try:
            if "when" in values:
                expression(values["when"], described.parents)
        except ExpressionError as error:
            self._problem(described.where, f"when: {error}", described.lines["when"])
            return None
        try:
            job = TitanJob(
                values.pop("id"),
                values.pop("file"),
                archive=self._folder.absolute() if project and not worker else None,
                base_dir=self._folder.absolute(),
                **values,
            )
        except InvalidName as error:
            self._problem("", str(error), line)
            return None
        job.line = line
        return job

    def _problem(self, where: str, text: str, line: int) -> None:
        self._problems.append(Problem(where, text, line))

    def _refusal(self, *problems: Problem) -> PipelineError:
        shown = tuple(
            Problem(printable(each.where), printable(each.text), each.line) for each in problems[:MAX_PROBLEMS]
        )
        if len(problems) > len(shown):
            shown = (*shown, Problem("", f"... and {len(problems) - len(shown)} more problems"))
        return PipelineError(shown, str(self._path))


class _Described:
    """What a job's keys say: values that could be read, by the names of TitanJob's arguments, and the lines of all.

    ``where`` is its id as it was written, or its number when it has none.
    """

    def __init__(self, where: str, line: int, values: dict[str, Any], lines: dict[str, int]) -> None:
        self.where = where
        self.line = line
        self.values = values
        self.lines = lines
        self.sound = False

    @property
    def parents(self) -> tuple[str, ...]:
        return tuple(parent for parent, _ in self.values.get("parents", ()))


class _Files:
    """The files that jobs may name: those of the folder, or those that travel in its zip."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._packed: Collection[str] | None = None
        self._listed: list[str] | None = None
        self._known: dict[str, str] = {}
        self._unpackable = False

    def pack(self, problems: list[Problem], line: int) -> None:
        """From now on only what travels in the zip counts. What cannot travel is added to the problems."""
        try:
            self._packed = project_files(self._folder)
        except PipelineError as error:
            self._unpackable = True
            problems += [Problem(each.where, each.text, line) for each in error.problems]
        except OSError as error:
            self._unpackable = True
            problems.append(Problem("", explain(error), line))

    def problem(self, file: str) -> str:
        """Why a file, relative to the folder, cannot be run; empty when it can."""
        if file not in self._known:
            self._known[file] = self._look(file)
        return self._known[file]

    def _look(self, file: str) -> str:
        if self._packed is not None:
            if file in self._packed:
                return ""
            if any(map(is_excluded, file.split("/"))):
                return f"{file} does not travel in the project's zip; move it to another folder"
            return self._missing(file, self._packed)
        path = self._folder / file
        try:
            if path.is_file():
                return ""
            if path.is_dir():
                return f"{file} is a folder; a file is wanted"
        except (OSError, ValueError) as error:
            return f"{file}: {error}"
        return "" if self._unpackable else self._missing(file, self._list())

    def _missing(self, file: str, names: Collection[str]) -> str:
        return f"there is no file {file} in {self._folder.resolve()}{suggestion(file, names)}"

    def _list(self) -> list[str]:
        if self._listed is None:
            self._listed = []
            for folder, below, names in os.walk(self._folder):
                below[:] = sorted(name for name in below if not is_excluded(name))
                place = os.path.relpath(folder, self._folder)
                self._listed += [os.path.normpath(os.path.join(place, name)) for name in sorted(names)]
                if len(self._listed) > _MAX_LISTED:
                    break
        return self._listed


def _short(text: str) -> str:
    return (text if len(text) <= 60 else f"{text[:60]}...") or "''"


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "_" for char in name)
