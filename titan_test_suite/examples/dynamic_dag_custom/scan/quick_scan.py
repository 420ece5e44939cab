"""The cheap answer: functions of every twentieth module of the standard library, scaled up."""

import ast
import pathlib
import sysconfig

EVERY = 20

modules = sorted(pathlib.Path(sysconfig.get_path("stdlib")).glob("*.py"))
sample = modules[::EVERY]
found = sum(
    isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    for path in sample
    for node in ast.walk(ast.parse(path.read_bytes()))
)
print(f"about {found * len(modules) // len(sample)} functions in {len(modules)} modules ({len(sample)} looked at)")
