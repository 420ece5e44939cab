"""YAML with the line of everything in it: bytes in, a tree of texts, lists and maps out, and never anything else.

Only the syntax is PyYAML's work. The tree is built here, from its events, so that depth, aliases and repeated keys are
under control; nothing is constructed from tags.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from titan_sdk.errors import PipelineError, Problem

MAX_BYTES: Final = 16 * 1024 * 1024
"""Of a file; ten thousand jobs take two or three megabytes."""
MAX_DEPTH: Final = 32
"""Of lists and maps in each other; a pipeline needs five."""
MAX_NODES: Final = 1_000_000
"""Texts, lists and maps, those that aliases repeat counted each time: what keeps a bomb from going off."""

_STANDARD: Final = "tag:yaml.org,2002:"
_SCALARS: Final = frozenset({"str", "int", "float", "bool", "null", "timestamp"})
_RESOLVER: Final[Any] = yaml.resolver.Resolver()
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")
_TAB_IN_INDENT: Final = re.compile(r"\s*\t")
_HINTS: Final = {
    "mapping values are not allowed": "a text with a colon in it needs quotes, else the indentation is off",
    "found unexpected end of stream": "a quote or bracket is not closed",
    "expected the node content": "a bracket is not closed, or a value is missing",
    "did not find expected node content": "a bracket is not closed, or a value is missing",
    "cannot start any token": "a text that begins with such a character needs quotes",
    "expected <block end>": "the indentation does not fit the lines before",
    "did not find expected key": "the indentation does not fit the lines before",
    "expected ',' or": "a bracket is not closed, or a value with brackets, braces or commas in it needs quotes",
    "did not find expected '-' indicator": "the indentation does not fit the lines before",
}
"""What a message of PyYAML or libyaml most often means."""


@dataclass(eq=False)
class Node:
    """Anything in the tree. ``line`` is 1-based; ``size`` counts the nodes in it, those in aliases each time."""

    line: int
    size: int = field(default=1, kw_only=True)


@dataclass(eq=False)
class Text(Node):
    """A scalar as it was written. ``kind`` is what YAML takes it for: str, int, float, bool, null or timestamp."""

    text: str
    kind: str


@dataclass(eq=False)
class List(Node):
    items: list[Node] = field(default_factory=list)


@dataclass(eq=False)
class Map(Node):
    """Its pairs in the order of the file, keys repeated when they are; merge keys (``<<``) have been followed."""

    pairs: list[tuple[Text, Node]] = field(default_factory=list)


def read_yaml(data: bytes) -> Node | None:
    """The one document in a file; None when there is nothing but comments.

    Raises:
        PipelineError: what is wrong, with its line. ``source`` is left for the caller to add.
    """
    if len(data) > MAX_BYTES:
        raise _error(0, f"the file has {len(data)} bytes, and {MAX_BYTES} are the most; is it the right one?")
    text = _decode(data)
    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # libyaml's is ten times as fast
    return _Builder().document(_events(text, loader), text)


def _decode(data: bytes) -> str:
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise _error(1, "the file is in UTF-16; save it as UTF-8")
    try:
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8")
    except UnicodeDecodeError as error:
        number = len(_LINE_END.findall(data[: error.start])) + 1
        raise _error(number, f"the byte 0x{data[error.start]:02x} is not UTF-8; save the file as UTF-8") from None
    for number, line in enumerate(re.split(r"\r\n|\r|\n", text), 1):
        if not line.isprintable():
            for char in line:
                if not char.isprintable() and (char < " " or "\x7f" <= char < "\xa0") and char not in "\t\x85":
                    raise _error(number, f"the control character {char!r} cannot stand in YAML")
    return text


def _events(text: str, loader: Any) -> Iterator[yaml.Event]:
    line = 1
    try:
        for event in yaml.parse(text, loader):
            line = _line(event)
            yield event
    except yaml.MarkedYAMLError as error:
        raise _syntax_error(error, text) from None
    except yaml.reader.ReaderError as error:
        raise _error(text.count("\n", 0, error.position) + 1, f"not valid YAML: {error.reason}") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # bad escapes and version numbers
        raise _error(line, f"not valid YAML: {error}") from None


def _line(event: yaml.Event) -> int:
    mark: Any = event.start_mark
    return int(mark.line) + 1


def _syntax_error(error: yaml.MarkedYAMLError, text: str) -> PipelineError:
    mark = error.problem_mark or error.context_mark
    number = mark.line + 1 if mark else 0
    lines = text.splitlines()
    here = lines[number - 1] if 0 < number <= len(lines) else ""
    if _TAB_IN_INDENT.match(here):
        return _error(number, "a tab in the indentation; YAML wants spaces")
    if mark and here[mark.column : mark.column + 1] == "\t":
        return _error(number, "a tab between the words; YAML wants spaces")
    problem = (error.problem or "it cannot be read").strip()
    began = error.context_mark.line + 1 if error.context and error.context_mark else number
    context = f" {error.context}" if error.context and "next token" not in error.context else ""
    context += f" that begins in line {began}" if context and began < number else ""
    hint = next((f"; {hint}" for start, hint in _HINTS.items() if start in problem), "")
    return _error(number, f"not valid YAML: {problem}{context}{hint}")


def printable(text: str) -> str:
    """The text with escapes for whatever a terminal would not show, or obey."""
    return text if text.isprintable() else "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _error(line: int, text: str) -> PipelineError:
    return PipelineError([Problem("", printable(text), line)])


class _Builder:
    """Makes a tree of the events of one file."""

    def __init__(self) -> None:
        self._anchors: dict[str, Node] = {}
        self._begun: set[str] = set()
        self._nodes = 0

    def document(self, events: Iterator[yaml.Event], text: str) -> Node | None:
        root: Node | None = None
        stack: list[tuple[Node, str | None]] = []
        keys: list[Node | None] = []  # for each open map the key that waits for its value
        for event in events:
            line = _line(event)
            if isinstance(event, yaml.DocumentStartEvent):
                if root is not None:
                    raise _error(line, "a second document begins here; one file holds one pipeline")
                continue
            if isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
                node, anchor = stack.pop()
                keys.pop()
                self._finish(node, anchor)
            elif isinstance(event, yaml.AliasEvent):
                node = self._alias(str(event.anchor), line)
            elif isinstance(event, yaml.ScalarEvent):
                node = Text(line, _whole(event.value, line), _kind(event, line))
                self._finish(node, event.anchor)
            elif isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
                self._open(event, stack, keys)
                continue
            else:
                continue
            if not stack:
                root = node
            else:
                keys[-1] = _put(stack[-1][0], keys[-1], node)
        return None if isinstance(root, Text) and not root.text and root.kind == "null" else root

    def _open(self, event: Any, stack: list[tuple[Node, str | None]], keys: list[Node | None]) -> None:
        line = _line(event)
        is_list = isinstance(event, yaml.SequenceStartEvent)
        if event.tag not in (None, "!", _STANDARD + ("seq" if is_list else "map")):
            raise _error(line, f"the tag {_shown(event.tag)} is not taken here; leave it out")
        if len(stack) >= MAX_DEPTH:
            raise _error(line, f"lists and maps in each other more than {MAX_DEPTH} deep")
        if event.anchor:
            self._begun.add(event.anchor)
            self._anchors.pop(event.anchor, None)
        stack.append((List(line) if is_list else Map(line), event.anchor))
        keys.append(None)

    def _alias(self, anchor: str, line: int) -> Node:
        node = self._anchors.get(anchor)
        if node is None:
            what = "stands inside what it names" if anchor in self._begun else "names nothing before it"
            raise _error(line, f"the alias *{anchor} {what}")
        self._count(node.size, line)
        return node

    def _finish(self, node: Node, anchor: str | None) -> None:
        if isinstance(node, Map):
            self._merge(node)
            node.size = 1 + sum(1 + value.size for _, value in node.pairs)
        elif isinstance(node, List):
            node.size = 1 + sum(item.size for item in node.items)
        self._count(1, node.line)
        if anchor:
            self._anchors[anchor] = node

    def _merge(self, node: Map) -> None:
        """Follow the merge keys: a pair of the map's own goes before a merged one, an earlier source before a later."""
        sources = [value for key, value in node.pairs if _is_merge(key)]
        if not sources:
            return
        node.pairs = [(key, value) for key, value in node.pairs if not _is_merge(key)]
        known = {key.text for key, _ in node.pairs}
        for source in sources:
            for each in source.items if isinstance(source, List) else [source]:
                if not isinstance(each, Map):
                    raise _error(source.line, "<< wants a map, or a list of maps, to merge here")
                new = [(key, value) for key, value in each.pairs if key.text not in known]
                known.update(key.text for key, _ in new)
                self._count(sum(1 + value.size for _, value in new), source.line)
                node.pairs.extend(new)

    def _count(self, nodes: int, line: int) -> None:
        self._nodes += nodes
        if self._nodes > MAX_NODES:
            raise _error(line, f"more than {MAX_NODES} values, those that aliases repeat counted each time")


def _whole(text: str, line: int) -> str:
    """The text itself. Escapes can spell half a character, which no file and no argument can hold."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise _error(line, f"{text[error.start]!r} is half a character") from None
    return text


def _put(parent: Node, key: Node | None, node: Node) -> Node | None:
    """Add a node to its list or map; the key that now waits for its value."""
    if isinstance(parent, List):
        parent.items.append(node)
        return None
    assert isinstance(parent, Map)
    if key is None:
        if not isinstance(node, Text):
            raise _error(node.line, "a key must be a plain word, not a list or a map; text with { or [ needs quotes")
        return node
    assert isinstance(key, Text)
    parent.pairs.append((key, node))
    return None


def _is_merge(key: Text) -> bool:
    return key.kind == "merge"


def _kind(event: yaml.ScalarEvent, line: int) -> str:
    if event.tag == "!" or (event.implicit[1] and not event.implicit[0]):
        return "str"  # quoted, or said to be a text
    tag = _RESOLVER.resolve(yaml.ScalarNode, event.value, (True, False)) if event.implicit[0] else event.tag
    kind = str(tag).removeprefix(_STANDARD)
    if event.tag is None and kind in ("merge", "value"):
        return kind if kind == "merge" else "str"
    if kind not in _SCALARS or not str(tag).startswith(_STANDARD):
        raise _error(line, f"the tag {_shown(str(tag))} is not taken here; leave it out")
    return kind


def _shown(tag: str) -> str:
    return f"!!{tag.removeprefix(_STANDARD)}"[:60] if tag.startswith(_STANDARD) else tag[:60]
