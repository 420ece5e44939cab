"""Cyclomatic complexity of Python functions, after T. J. McCabe, "A Complexity Measure" (1976).

A function counts 1 and one more for each place where control can take another way: ``if``, ``elif``, loops,
``except``, conditional expressions, ``case``, each further operand of ``and``/``or``, and the loops and conditions of
comprehensions.
A function inside another counts for itself, not for the outer one.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator

_ONE_MORE = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.ExceptHandler, ast.IfExp, ast.match_case)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef | ast.AsyncFunctionDef]]:
    """Every function with its dotted name within the module."""
    todo: list[tuple[str, ast.AST]] = [("", tree)]
    while todo:
        prefix, node = todo.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, _FUNCTIONS):
                yield prefix + child.name, child
                todo.append((f"{prefix}{child.name}.", child))
            elif isinstance(child, ast.ClassDef):
                todo.append((f"{prefix}{child.name}.", child))
            else:
                todo.append((prefix, child))


def complexity(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    total = 1
    todo: list[ast.AST] = list(function.body)
    while todo:
        node = todo.pop()
        if isinstance(node, _FUNCTIONS):
            continue
        if isinstance(node, _ONE_MORE):
            total += 1
        elif isinstance(node, ast.BoolOp):
            total += len(node.values) - 1
        elif isinstance(node, ast.comprehension):
            total += 1 + len(node.ifs)
        todo.extend(ast.iter_child_nodes(node))
    return total
