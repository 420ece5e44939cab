"""Conditions and references: what they say, what they may not say, and how they fail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from titan_sdk.errors import ExpressionError
from titan_sdk.expressions import Expression, Text, refers, renamed, renamed_text

PARENTS = ("split", "my-job", "a.b", "load data")


class Facts:
    params: Mapping[str, str] = {"region": "eu", "n": "5"}

    def outputs(self, parent: str) -> Mapping[str, Any]:
        values: dict[str, dict[str, Any]] = {
            "split": {"items": ["x", "y"], "rows": 3, "meta": {"ok": True, "none": None}},
            "my-job": {"n": 1},
        }
        return values.get(parent, {})

    def state(self, parent: str) -> str:
        return "DEAD" if parent == "a.b" else "COMPLETED"

    def item(self) -> Any:
        return {"name": "one"}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("parents.split.rows > 2", True),
        ("1 < parents.split.rows <= 3", True),
        ("parents.split.rows == 3 and not parents.split.meta.ok", False),
        ("parents.my-job.n == 1", True),
        ("parents['my-job']['n'] == 1", True),
        ("'parents.my-job.n' == \"parents.my-job.n\"", True),
        ("states.a.b == 'DEAD'", True),
        ("states.load data in ['COMPLETED', 'SKIPPED']", True),
        ("params.region in ('eu', 'us') or parents.nowhere", None),
        ("'x' in parents.split.items and 'z' not in parents.split.items", True),
        ("'rows' in parents.split", True),
        ("'b' in params", False),
        ("parents.split.items[1]", "y"),
        ("parents.split.items[-1]", None),
        ("len(parents.split.items) == 2", True),
        ("number(params.n) >= 5", True),
        ("default(parents.split.missing, 7) == 7", True),
        ("default(parents.a.b.x, null) is none", True),
        ("parents.split.meta.none == null", True),
        ("true and\n  false", False),
        ("-1 < 0", True),
        ("item.name", "one"),
    ],
)
def test_what_they_come_to(text: str, value: Any) -> None:
    if value is None:
        with pytest.raises(ExpressionError):
            Expression(text, PARENTS)
    else:
        assert Expression(text, PARENTS).value(Facts()) == value


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("  ", "not nothing"),
        ("parents.split.rows >", "is not an expression"),
        ("rows > 3", "rows is none of parents, states, params, item"),
        ("parents.other.rows", "other is no parent of this job; its parents are: a.b, load data, my-job, split"),
        ("parents", "after parents the id of a parent is wanted"),
        ("2 ** 1000 ** 1000", "is not allowed"),
        ("'a' * 1000000000", "is not allowed"),
        ("1 + 1", "is not allowed"),
        ("(lambda: 1)()", "is not allowed"),
        ("[x for x in parents.split.items]", "is not allowed"),
        ("parents.split.items.append(1)", "is not allowed"),
        ("().__class__.__bases__", "is none of"),
        ("__import__('os')", "is not allowed"),
        ("f'{params.n}'", "is not allowed"),
        ("len(1, 2)", "is not allowed"),
        ("'\\x41'", "holds a backslash"),
        ("(" * 400 + "1" + ")" * 400, "is not an expression"),
        ("1 or " * 300 + "1", "over the limit of 1000"),
        ("x := 3", "is not allowed"),
        ("b'a'", "is not allowed"),
        ("1 if true else 2", "is not allowed"),
        ("\0", "is not an expression"),
        ("~" * 990 + "1", "nested too deeply"),
        ("1+" * 490 + "1", "nested too deeply"),
    ],
)
def test_what_they_may_not_say(text: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why):
        Expression(text, PARENTS)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("parents.split.colour", "parents.split has no 'colour'"),
        ("parents.split.rows.deep", "parents.split.rows is a int, and has no 'deep'"),
        ("parents.split.items[5]", "parents.split.items has no 5"),
        ("parents.split.rows < 'a'", "cannot be told: '<' not supported"),
        ("params.colour == 'x'", "params has no 'colour'"),
        ("number(params.region)", "cannot be told"),
        ("len(parents.split.rows)", "cannot be told"),
        ("3 in 4", "cannot be told"),
        ("parents.split.__class__", "has no '__class__'"),
    ],
)
def test_what_cannot_be_told(text: str, why: str) -> None:
    with pytest.raises(ExpressionError, match=why):
        Expression(text, PARENTS).value(Facts())


def test_what_they_speak_of() -> None:
    found = Expression("parents.my-job.n == item or states.split == params.region", PARENTS)
    assert (found.parents, found.params, found.items) == ({"my-job", "split"}, {"region"}, True)


def test_texts_with_references() -> None:
    text = Text("--rows=${parents.split.rows} ${ params.region }/$${params.n} ${HOME} ${parents.split.meta}", PARENTS)
    assert text.render(Facts()) == '--rows=3 eu/${params.n} ${HOME} {"ok":true,"none":null}'
    assert not refers("${HOME} $(x) ${parentsx}") and refers("a${ item }") and refers("$${")
    with pytest.raises(ExpressionError, match="other is no parent"):
        Text("${parents.other.x}", PARENTS)


def test_references_without_an_end_do_not_take_for_ever() -> None:
    text = "${item" * 150_000  # each would look for its end through all that follow
    assert Text(f"{text}$${{x", PARENTS).render(Facts()) == f"{text}${{x"
    assert not refers(text)
    with pytest.raises(ExpressionError, match="over the limit"):
        Text(text + "}", PARENTS)


def test_a_value_too_deep_for_a_text_cannot_be_told() -> None:
    class Deep(Facts):
        def item(self) -> Any:
            value: Any = []
            for _ in range(5000):
                value = [value]
            return value

    with pytest.raises(ExpressionError, match="nested too deeply"):
        Text("${item}", PARENTS).render(Deep())


def test_they_follow_when_parents_have_other_ids() -> None:
    names = {name: f"{name}.1" for name in PARENTS}
    text = (
        "parents.split.rows > 2 and states.load data in ['x'] or default(parents['my-job'].n, item) == 'parents.split'"
    )
    found = Expression(renamed(text, names), list(names.values()))
    assert found.parents == {"split.1", "load data.1", "my-job.1"} and found.items
    assert renamed_text("${parents.a.b.x[0]} $${parents.split} ${HOME} }", names) == (
        "${parents['a.b.1'].x[0]} $${parents.split} ${HOME} }"
    )
