"""The parameters of a pipeline: what it declares, what it was given, and what its texts name."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from titan_sdk.errors import InvalidName, Problem
from titan_sdk.run_rules import check_param_name, variable_of

_REFERENCE: Final = re.compile(r"(\$?)\$\{\s*params\.(\w+)")
"""A second ``$`` in front says that the text itself is meant. The master puts the values in: see expressions.Text."""


class Declared(NamedTuple):
    """A parameter in the file: its default, None when it must be given, and the line it stands in."""

    default: str | None
    line: int


class Params:
    """The parameters of one pipeline.

    Args:
        declared: by name. given: values by name; None when the pipeline is only looked at: then one that must be given
            stands for nothing, and that is no mistake.
        line: of the key ``params``; 0 when there is none.
    """

    def __init__(self, declared: Mapping[str, Declared], given: Mapping[str, str] | None, line: int = 0) -> None:
        self._declared = declared
        self._given = given
        self._line = line
        self.values = {name: each.default or "" for name, each in declared.items()} | dict(given or {})

    def problems(self) -> list[Problem]:
        """Names that cannot be, values that were not given, and values of parameters that are not declared."""
        found = []
        variables: dict[str, str] = {}
        for name, each in self._declared.items():
            try:
                check_param_name(name)
            except InvalidName as error:
                found.append(Problem("", f"params: {error}", each.line))
                continue
            other = variables.setdefault(variable_of(name), name)
            if other != name:
                text = f"params: {other} and {name} would both be {variable_of(name)}"
                found.append(Problem("", text, each.line))
            if self._given is not None and each.default is None and name not in self._given:
                text = f"the parameter {name} has no default and was not given; --param {name}=VALUE gives it"
                found.append(Problem("", text, each.line))
        for name in self._given or ():
            if name not in self._declared:
                found.append(Problem("", f"there is no parameter {name}{self._meant(name)}", self._line))
        return found

    def unknown(self, value: str | list[str] | Mapping[str, str]) -> list[str]:
        """What is wrong with ``${params.NAME}`` in a text, or in a list or map of texts."""
        texts = [value] if isinstance(value, str) else value.values() if isinstance(value, Mapping) else value
        named = [match[2] for text in texts for match in _REFERENCE.finditer(text) if not match[1]]
        missing = [name for name in dict.fromkeys(named) if name not in self._declared]
        return [f"there is no parameter {name}{self._meant(name)}" for name in missing]

    def _meant(self, name: str) -> str:
        return did_you_mean(name, self._declared)


def did_you_mean(name: str, known: Collection[str]) -> str:
    """As in ``; did you mean x?``, or what there is."""
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f"; did you mean {close[0]}?"
    return f"; the parameters are {', '.join(known)}" if known else "; the pipeline has none"


def parse_assignments(texts: Collection[str]) -> dict[str, str]:
    """``NAME=VALUE`` as it is given on a command line.

    Raises:
        InvalidName: one without ``=``, with a name that cannot be, or a name given twice.
    """
    values: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise InvalidName(f"--param {text}: NAME=VALUE is wanted")
        check_param_name(name)
        if name in values:
            raise InvalidName(f"the parameter {name} is given twice")
        values[name] = value
    return values
