"""Compile a program so that it can be stopped where it would block, and go on later.

`time.sleep()`, `input()` and what reads `sys.stdin` become awaits, and so do the calls of functions that have one in them.
Everything else stays what it is. Where an await cannot stand (a lambda, a method, a generator, a function that is passed
on) the program is refused.
"""

from __future__ import annotations

import ast
from types import CodeType
from typing import Any, ClassVar

__all__ = ("PROCESS_NAME", "NotSimulatedError", "compile_child")

PROCESS_NAME = "__simulated_process__"
"""The global that the compiled program asks for the process it is."""


class NotSimulatedError(RuntimeError):
    """Something that works on a computer, and not with processes that are only simulated."""

    said: ClassVar[list[str]] = []
    """Each that was raised, also where a process kept it to itself."""

    def __init__(self, what: str, *, who: str = "simulated process") -> None:
        super().__init__(f"{who}: {what} is not simulated")
        self.said.append(str(self))


def compile_child(source: str, filename: str) -> CodeType:
    """The code of a program; evaluated, it is a coroutine if it ever waits.

    A syntax error is reported as Python does it: by the program, on its stderr.

    Raises:
        NotSimulatedError: It waits where it cannot be stopped.
    """
    try:
        tree = ast.parse(source, filename)
    except SyntaxError as error:
        details = (error.msg, (filename, error.lineno, error.offset, error.text))
        tree = ast.parse(f"raise SyntaxError(*{details!r})", filename)
    waiting: set[str] = set()
    while True:
        finder = _Awaits(waiting, is_final=False)
        finder.visit(ast.parse(ast.unparse(tree)))
        if finder.waiting == waiting:
            break
        waiting = finder.waiting
    tree = ast.fix_missing_locations(_Awaits(waiting, is_final=True).visit(tree))
    return compile(tree, filename, "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


_READS = {
    "sys.stdin.read": "read",
    "sys.stdin.readline": "readline",
    "sys.stdin.buffer.read": "read_bytes",
    "sys.stdin.buffer.readline": "readline_bytes",
}


class _Awaits(ast.NodeTransformer):
    """Puts the awaits in; *waiting* are the functions known to need one."""

    def __init__(self, waiting: set[str], *, is_final: bool) -> None:
        self.waiting = set(waiting)
        self._is_final = is_final
        self._names: dict[str, str] = {"input": "input"}
        # Where we are: the name of a function, "" for the module, None where nothing can be awaited.
        self._place: str | None = ""
        self._where = ""

    # --- names: `import time as t`, `from time import sleep` -------------------------------------------------------

    def visit_Import(self, node: ast.Import) -> ast.AST:
        for alias in node.names:
            self._names[alias.asname or alias.name] = alias.name
        return node

    def visit_ImportFrom(self, node: ast.ImportFrom) -> ast.AST:
        for alias in node.names:
            self._names[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        return node

    def _dotted(self, node: ast.AST) -> str:
        """The full name of what *node* stands for, if it is one; else something that is no name."""
        if isinstance(node, ast.Name):
            return self._names.get(node.id, node.id)
        if isinstance(node, ast.Attribute):
            return f"{self._dotted(node.value)}.{node.attr}"
        return "?"

    # --- places ----------------------------------------------------------------------------------------------------

    def _inside(self, node: ast.AST, place: str | None, where: str = "") -> ast.AST:
        before = self._place, self._where
        self._place, self._where = place, where or self._where
        self.generic_visit(node)
        self._place, self._where = before
        return node

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        if self._where == "a class":
            return self._inside(node, None, "a method")
        if any(isinstance(inner, ast.Yield | ast.YieldFrom) for inner in ast.walk(node)):
            return self._inside(node, None, "a generator")
        self._inside(node, node.name, "a function")
        if node.name not in self.waiting:
            return node
        fields: dict[str, Any] = {name: getattr(node, name) for name in node._fields}
        return ast.copy_location(ast.AsyncFunctionDef(**fields), node)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        return self._inside(node, None, "a coroutine")

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        return self._inside(node, None, "a class")

    def visit_Lambda(self, node: ast.Lambda) -> ast.AST:
        return self._inside(node, None, "a lambda")

    def visit_GeneratorExp(self, node: ast.GeneratorExp) -> ast.AST:
        return self._inside(node, None, "a generator")

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self._inside(node, None, "a comprehension")

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self._inside(node, None, "a comprehension")

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        return self._inside(node, None, "a comprehension")

    # --- what waits ------------------------------------------------------------------------------------------------

    def visit_Call(self, node: ast.Call) -> ast.AST:
        name = self._dotted(node.func)
        if isinstance(node.func, ast.Name) and node.func.id in self.waiting:
            node.args = [self.visit(argument) for argument in node.args]
            node.keywords = [self.visit(keyword) for keyword in node.keywords]
            return self._awaited(node, f"{name}()")
        self.generic_visit(node)
        if name == "time.sleep":
            return self._awaited(_call("sleep", node), "time.sleep()")
        if name == "input" or name in _READS:
            return self._awaited(_call(_READS.get(name, name), node), f"{name}()")
        return node

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if self._is_final and node.id in self.waiting and isinstance(node.ctx, ast.Load):
            raise NotSimulatedError(f"{node.id}(), which waits and is passed on in line {node.lineno},")
        return node

    def visit_For(self, node: ast.For) -> ast.AST:
        name = self._dotted(node.iter)
        self.generic_visit(node)
        if name != "sys.stdin":
            return node
        self._note(node, "reading sys.stdin")
        lines = ast.copy_location(_call("lines", node.iter), node.iter)
        waits = ast.AsyncFor(node.target, lines, node.body, node.orelse)
        return ast.copy_location(waits, node)

    def visit_Expr(self, node: ast.Expr) -> ast.AST | list[ast.AST]:
        writes = isinstance(node.value, ast.Call) and self._dotted(node.value.func).endswith(
            ("print", ".write")
        )
        self.generic_visit(node)
        if not writes or self._place is None or (self._place and self._place not in self.waiting):
            return node
        room = ast.copy_location(ast.Expr(ast.Await(_call("room", node))), node)
        return [node, room]

    def _awaited(self, call: ast.Call, what: str) -> ast.AST:
        self._note(call, what)
        return ast.copy_location(ast.Await(call), call)

    def _note(self, node: ast.AST, what: str) -> None:
        if self._place is None:
            line = getattr(node, "lineno", 0)
            raise NotSimulatedError(f"{what} in {self._where} (line {line})")
        if self._place:
            self.waiting.add(self._place)


def _call(method: str, node: ast.AST) -> ast.Call:
    function = ast.Attribute(ast.Name(PROCESS_NAME, ast.Load()), method, ast.Load())
    arguments, keywords = (node.args, node.keywords) if isinstance(node, ast.Call) else ([], [])
    return ast.copy_location(ast.Call(function, arguments, keywords), node)
