"""What the modules that the compiled wheel makes C of must keep to: docs/decisions/0016 has the reasons."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.installed import compiled_modules

ROOT = Path(__file__).parent.parent
COMPILED = compiled_modules()


def modules_in(folder: str) -> list[str]:
    return sorted(".".join(path.relative_to(ROOT).with_suffix("").parts) for path in (ROOT / folder).rglob("*.py"))


OTHERS = [name for name in modules_in("proxy") if name not in COMPILED]
TESTS = [*modules_in("tests"), *modules_in("benchmarks")]


class Waits(ast.NodeVisitor):
    """Lines at which a coroutine or a generator may be suspended while an exception is being handled."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self._handlers = 0

    def visit_Try(self, node: ast.Try) -> None:
        for child in (*node.body, *node.orelse):
            self.visit(child)
        self._handlers += 1
        for handler in (*node.handlers, *node.finalbody):
            self.visit(handler)
        self._handlers -= 1

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> None:
        outside, self._handlers = self._handlers, 0
        self.generic_visit(node)
        self._handlers = outside

    visit_AsyncFunctionDef = visit_Lambda = visit_FunctionDef

    def visit_Await(self, node: ast.Await | ast.Yield | ast.YieldFrom) -> None:
        if self._handlers:
            self.lines.append(node.lineno)
        self.generic_visit(node)

    visit_Yield = visit_YieldFrom = visit_Await

    def visit_AsyncWith(self, node: ast.AsyncWith) -> None:
        self.lines.append(node.lineno)  # its end waits, also when an exception passes
        self.generic_visit(node)


def waits_in_handlers(source: str) -> list[int]:
    waits = Waits()
    waits.visit(ast.parse(source))
    return waits.lines


def tree_of(module: str) -> ast.Module:
    return ast.parse((ROOT / f"{module.replace('.', '/')}.py").read_text())


def test_the_list_is_in_order_and_every_file_is_there() -> None:
    assert sorted(set(COMPILED)) == COMPILED
    assert not [name for name in COMPILED if not (ROOT / f"{name.replace('.', '/')}.py").is_file()]


@pytest.mark.parametrize("module", COMPILED)
def test_nothing_compiled_waits_while_it_handles_an_exception(module: str) -> None:
    """What `raise` and the end of `finally` raise again is lost if the coroutine was suspended in between."""
    assert not waits_in_handlers((ROOT / f"{module.replace('.', '/')}.py").read_text())


@pytest.mark.parametrize("module", [*OTHERS, *TESTS])
def test_nothing_that_is_not_compiled_inherits_from_what_is(module: str) -> None:
    tree = tree_of(module)
    compiled = {
        alias.asname or alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module in COMPILED
        for alias in node.names
    }
    heirs = [
        node.name
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for base in node.bases
        if ast.unparse(base).partition("[")[0] in compiled
    ]
    assert not heirs


def test_nothing_is_copied_without_knowing_how() -> None:
    """`copy.copy` makes a compiled object without its values, and may call `__init__` without arguments."""
    copying = {
        module
        for module in [*COMPILED, *OTHERS]
        for node in ast.walk(tree_of(module))
        if (isinstance(node, ast.ImportFrom) and node.module == "copy")
        or (isinstance(node, ast.Import) and "copy" in [alias.name for alias in node.names])
    }
    assert not copying


IN_A_HANDLER = "async def f(): \n try: pass\n except OSError:\n  await g()\n  raise"
IN_AN_END = "async def f():\n try: pass\n finally:\n  await g()"
IN_A_GENERATOR = "def f():\n try: pass\n except OSError:\n  yield 1"
AROUND = "async def f():\n async with g(): pass"
IN_A_BODY = "async def f():\n try: await g()\n except OSError: raise"
IN_ANOTHER = "def f():\n try: pass\n except OSError:\n  async def g(): await h()"


@pytest.mark.parametrize(
    ("source", "lines"),
    [(IN_A_HANDLER, [4]), (IN_AN_END, [4]), (IN_A_GENERATOR, [4]), (AROUND, [2]), (IN_A_BODY, []), (IN_ANOTHER, [])],
    ids=["except", "finally", "generator", "async with", "try", "a function of its own"],
)
def test_the_rule_finds_what_it_is_for(source: str, lines: list[int]) -> None:
    assert waits_in_handlers(source) == lines
