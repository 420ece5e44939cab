"""Conditions and references of pipelines: a small, safe part of Python's expressions.

    parents.count.rows > 1000 and params.region in ["eu", "us"]
    states.load == "DEAD" or not default(parents.check.good, true)

Python's own parser reads them, and a whitelist of its nodes is interpreted here: nothing is called but the three
functions below, nothing is computed that could grow, no attribute of an object is ever looked up. That is less than
any library for it lets in, and so short that it can be read whole.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Collection, Mapping
from copy import deepcopy
from functools import lru_cache
from typing import Any, Final, Protocol

import msgspec

from titan_sdk.errors import ExpressionError

MAX_CHARS: Final = 1000
"""Of one expression."""
MAX_RENDERED: Final = 1024 * 1024
"""Characters of one text with all its references replaced; what a new program is given at most."""

_WORDS: Final = {"true": True, "false": False, "null": None, "none": None}
_COMPARISONS: Final[dict[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.eq,
    ast.IsNot: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.In: lambda one, many: one in many,
    ast.NotIn: lambda one, many: one not in many,
}
_ROOTS: Final = ("parents", "states", "params", "item")
_FUNCTIONS: Final = {"len": 1, "number": 1, "default": 2}
"""How many arguments each takes. ``default(reference, value)``: the value when there is nothing by that name."""
_REFERENCE: Final = re.compile(rf"\$\$\{{|\$\{{\s*(?=(?:{'|'.join((*_ROOTS, *_FUNCTIONS))})\b)([^}}]*)\}}")


class Scope(Protocol):
    """What an expression can ask for."""

    @property
    def params(self) -> Mapping[str, Any]: ...

    def outputs(self, parent: str) -> Mapping[str, Any]:
        """The outputs of a parent by its id; none when it left none."""
        ...

    def state(self, parent: str) -> str:
        """The state of a parent by its id."""
        ...

    def item(self) -> Any:
        """The element that an instance of an ``each`` job is for. Raises ExpressionError in any other job."""
        ...


class Expression:
    """One expression, checked.

    Attributes:
        parents: ids that it speaks of. params: names of parameters that it does. items: whether it does of ``item``.

    Raises:
        ExpressionError: it is none, it says more than is allowed, or a name in it is no parent's.
    """

    def __init__(self, text: str, known: Collection[str]) -> None:
        self.text = " ".join(text.split())
        self._known = known
        self.parents: set[str] = set()
        self.params: set[str] = set()
        self.items = False
        if len(text) > MAX_CHARS:
            raise ExpressionError(f"an expression of {len(text)} characters is over the limit of {MAX_CHARS}")
        if not self.text:
            raise ExpressionError("an expression is wanted, not nothing")
        if "\\" in text:
            raise ExpressionError(f"{self._shown()} holds a backslash")
        try:
            self._tree = ast.parse(f"({_quoted_ids(self.text, known)}\n)", mode="eval").body
        except SyntaxError as error:
            raise ExpressionError(f"{self._shown()} is not an expression: {error.msg}") from None
        except (ValueError, RecursionError, MemoryError) as error:
            raise ExpressionError(f"{self._shown()} is not an expression: {error}") from None
        try:
            self._check(self._tree)
        except RecursionError:
            raise ExpressionError(f"{self._shown()} is nested too deeply") from None

    def value(self, scope: Scope) -> Any:
        """What it comes to. Raises ExpressionError: something is not there, or cannot be compared."""
        try:
            return self._value(self._tree, scope)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise ExpressionError(f"{self._shown()} cannot be told: {error}") from None

    def _shown(self) -> str:
        return repr(self.text if len(self.text) <= 80 else f"{self.text[:80]}...")

    # --- what is allowed ------------------------------------------------------------------------------------------

    def _check(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float, type(None))):
            return
        if isinstance(node, ast.Name) and node.id in _WORDS:
            return
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Name)):
            self._check_path(node)
            return
        if isinstance(node, ast.Call):
            self._check_call(node)
        elif isinstance(node, ast.Compare):
            self._check_all(node.left, *node.comparators)
        elif isinstance(node, ast.BoolOp):
            self._check_all(*node.values)
        elif isinstance(node, (ast.List, ast.Tuple)):
            self._check_all(*node.elts)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.Not, ast.USub)):
            self._check(node.operand)
        else:
            raise ExpressionError(
                f"{self._shown()}: {ast.unparse(node)[:60]!r} is not allowed; comparisons, and, or, not, in, lists, "
                f"{', '.join(_FUNCTIONS)} and {', '.join(_ROOTS)} are"
            )

    def _check_all(self, *nodes: ast.expr) -> None:
        for node in nodes:
            self._check(node)

    def _check_call(self, node: ast.Call) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else ""
        wanted = _FUNCTIONS.get(name)
        if wanted is None or node.keywords or len(node.args) != wanted:
            raise ExpressionError(
                f"{self._shown()}: {ast.unparse(node)[:60]!r} is not allowed; len(x), number(text) and "
                "default(reference, value) are"
            )
        self._check_all(*node.args)

    def _check_path(self, node: ast.expr) -> None:
        root, path = _path(node)
        if root not in _ROOTS:
            raise ExpressionError(f"{self._shown()}: {root or ast.unparse(node)[:60]} is none of {', '.join(_ROOTS)}")
        first = path[0] if path else None
        if root == "item":
            self.items = True
        elif root == "params":
            if first is not None:
                self.params.add(str(first))
        elif not isinstance(first, str):
            raise ExpressionError(f"{self._shown()}: after {root} the id of a parent is wanted, as in {root}.ID")
        elif first not in self._known:
            names = ", ".join(sorted(self._known)[:5]) or "none"
            raise ExpressionError(f"{self._shown()}: {first} is no parent of this job; its parents are: {names}")
        else:
            self.parents.add(first)

    # --- what it comes to -----------------------------------------------------------------------------------------

    def _value(self, node: ast.expr, scope: Scope) -> Any:
        if isinstance(node, ast.Constant):
            return node.value
        if isinstance(node, ast.Name) and node.id in _WORDS:
            return _WORDS[node.id]
        if isinstance(node, (ast.Attribute, ast.Subscript, ast.Name)):
            return self._found(node, scope)
        if isinstance(node, ast.Call):
            return self._called(node, scope)
        if isinstance(node, ast.Compare):
            return self._compared(node, scope)
        if isinstance(node, ast.BoolOp):
            value: Any = None
            for each in node.values:
                value = self._value(each, scope)
                if bool(value) is isinstance(node.op, ast.Or):
                    break
            return value
        if isinstance(node, (ast.List, ast.Tuple)):
            return [self._value(each, scope) for each in node.elts]
        assert isinstance(node, ast.UnaryOp)
        value = self._value(node.operand, scope)
        return not value if isinstance(node.op, ast.Not) else -value

    def _compared(self, node: ast.Compare, scope: Scope) -> bool:
        left = self._value(node.left, scope)
        for op, each in zip(node.ops, node.comparators, strict=True):
            right = self._value(each, scope)
            if not _COMPARISONS[type(op)](left, right):
                return False
            left = right
        return True

    def _called(self, node: ast.Call, scope: Scope) -> Any:
        assert isinstance(node.func, ast.Name)
        if node.func.id == "default":
            try:
                return self._value(node.args[0], scope)
            except _Absent:
                return self._value(node.args[1], scope)
        value = self._value(node.args[0], scope)
        if node.func.id == "len":
            return len(value)
        return value if isinstance(value, (int, float)) else float(value)

    def _found(self, node: ast.expr, scope: Scope) -> Any:
        root, path = _path(node)
        name = root
        value: Any
        if root == "item":
            value = scope.item()
        elif root == "params":
            value = scope.params
        else:
            parent = str(path[0])
            value = scope.state(parent) if root == "states" else scope.outputs(parent)
            name, path = f"{root}.{parent}", path[1:]
        for step in path:
            if not isinstance(value, (Mapping, list)):
                raise ExpressionError(f"{self._shown()}: {name} is {_kind(value)}, and has no {step!r}")
            held: Any = value
            try:
                value = held[step]
            except (KeyError, IndexError, TypeError):
                raise _Absent(f"{self._shown()}: {name} has no {step!r}") from None
            name = f"{name}.{step}"
        return value


class _Absent(ExpressionError):
    """There is nothing by that name."""


class Text:
    """A text with references: ``${parents.ID.NAME}``, ``${params.NAME}``, ``${item}``; ``$${`` stands for ``${``.

    Attributes:
        expressions: of its references, in order.

    Raises:
        ExpressionError: a reference is none.
    """

    def __init__(self, text: str, known: Collection[str]) -> None:
        self._pieces: list[str | Expression] = []
        at = 0
        for match in _REFERENCE.finditer(text, 0, _last_end(text)):
            self._pieces.append(text[at : match.start()])
            self._pieces.append("${" if match[1] is None else expression(match[1], tuple(known)))
            at = match.end()
        self._pieces.append(text[at:].replace("$${", "${"))
        self.expressions = [piece for piece in self._pieces if isinstance(piece, Expression)]

    def render(self, scope: Scope) -> str:
        """The text with values for its references: texts as they are, everything else as JSON.

        Raises:
            ExpressionError: a value is not there, or the text is over MAX_RENDERED characters.
        """
        try:
            found = "".join(piece if isinstance(piece, str) else as_text(piece.value(scope)) for piece in self._pieces)
        except RecursionError:
            raise ExpressionError("a value is nested too deeply to be written as a text") from None
        if len(found) > MAX_RENDERED:
            raise ExpressionError(f"a text of {len(found)} characters is over the limit of {MAX_RENDERED}")
        if "\0" in found:
            raise ExpressionError(f"{found[:40]!r} holds a NUL, which no argument or variable can")
        return found


@lru_cache(maxsize=1024)
def expression(text: str, known: tuple[str, ...]) -> Expression:
    """The expression; the same one for the same text. Raises ExpressionError."""
    return Expression(text, known)


def refers(text: str) -> bool:
    """Whether the text holds a reference, or what would be taken for the beginning of one."""
    return "$${" in text or ("${" in text and _REFERENCE.search(text, 0, _last_end(text)) is not None)


def _last_end(text: str) -> int:
    """Where the last reference ends at the latest: so none is looked for whose end would be sought in vain, each time
    through the whole text.
    """
    return text.rfind("}") + 1


def renamed(text: str, names: Mapping[str, str]) -> str:
    """The same expression for a job whose parents, ``names``, have other ids. Raises ExpressionError."""
    tree = expression(text, tuple(names))._tree
    try:
        return ast.unparse(_Renaming(names).visit(deepcopy(tree)))
    except RecursionError:
        raise ExpressionError(f"{text[:80]!r} is nested too deeply") from None


def renamed_text(text: str, names: Mapping[str, str]) -> str:
    """As ``renamed``, for a text with references."""
    end = _last_end(text)
    return _REFERENCE.sub(lambda m: m[0] if m[1] is None else f"${{{renamed(m[1], names)}}}", text[:end]) + text[end:]


class _Renaming(ast.NodeTransformer):
    def __init__(self, names: Mapping[str, str]) -> None:
        self._names = names

    def visit(self, node: ast.AST) -> ast.AST:
        node = super().generic_visit(node)
        if isinstance(node, (ast.Attribute, ast.Subscript)) and isinstance(node.value, ast.Name):
            root, path = _path(node)
            if root in ("parents", "states") and path:
                name = self._names.get(str(path[0]), path[0])
                return ast.Subscript(value=node.value, slice=ast.Constant(value=name), ctx=ast.Load())
        return node


def as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _path(node: ast.expr) -> tuple[str, list[str | int]]:
    """``a.b["c"][0]`` as its root and its steps; the root is empty when it is nothing of the kind."""
    steps: list[str | int] = []
    while not isinstance(node, ast.Name):
        if isinstance(node, ast.Attribute):
            steps.append(node.attr)
        elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
            step = node.slice.value
            if not isinstance(step, (str, int)) or isinstance(step, bool):
                return "", []
            steps.append(step)
        else:
            return "", []
        node = node.value
    return node.id, steps[::-1]


def _quoted_ids(text: str, known: Collection[str]) -> str:
    """``parents.my-job.rows`` as ``parents["my-job"].rows``: ids may hold what Python's names may not."""
    odd = sorted((name for name in known if not name.isidentifier()), key=len, reverse=True)
    if not odd:
        return text
    pattern = rf"""("[^"]*"|'[^']*')|\b(parents|states)\.({"|".join(map(re.escape, odd))})(?![\w-])"""
    return re.sub(pattern, lambda match: match[1] or f'{match[2]}["{match[3]}"]', text)


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"a {type(value).__name__}"
