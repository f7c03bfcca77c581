"""Texts in a torch.export archive that torch would evaluate as Python: sizes and guards.

`"s0 + 1"`, `"Mul(Integer(8), Symbol('s77', positive=True, integer=True))"` stand for sizes; torch hands them
to `sympy.sympify`, which is `eval`.  Guards, `"L['x'].size()[0] >= 2"`, are put into a function that torch
compiles.  This program needs neither: it runs the program at one static shape.  It parses them (which
executes nothing) to refuse files that hide something else there.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Any

from lipaudit.errors import UnsafeInput

__all__ = ["check_expressions"]

_LIMIT = 10_000
_SYMBOL = re.compile(r"[a-z]{1,4}\d{1,9}")
_FUNCTIONS = frozenset(
    {"Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "Max", "Min", "Mod", "PythonMod"}
    | {"FloorDiv", "CleanDiv", "CeilToInt", "FloorToInt", "TruncToInt", "ToFloat", "IntTrueDiv", "Where"}
    | {"FloatTrueDiv", "Eq", "Ne", "Le", "Lt", "Ge", "Gt", "Equality", "Unequality", "LessThan", "And"}
    | {"StrictLessThan", "GreaterThan", "StrictGreaterThan", "Or", "Not", "floor", "ceiling", "Identity"}
    | {"RoundDecimal", "RoundToInt", "ModularIndexing", "Piecewise", "ExprCondPair", "OpaqueUnaryFn_sqrt"}
    | {"true", "false", "BooleanTrue", "BooleanFalse", "PowByNatural", "FloatPow", "LShift", "RShift"}
)
_SIZES = (
    *(ast.Expression, ast.Call, ast.Name, ast.Load, ast.Constant, ast.keyword, ast.BinOp, ast.UnaryOp),
    *(ast.operator, ast.unaryop, ast.Compare, ast.cmpop, ast.BoolOp, ast.boolop, ast.Tuple),
)
_GUARDS = (*_SIZES, ast.Subscript, ast.Attribute, ast.IfExp)
_ROOTS = frozenset({"L", "math", "torch", "cast_symbool_to_symint_guardless", "not", "max", "min", "abs"})
_MEMBERS = frozenset(
    {"size", "stride", "storage_offset", "isnan", "inf", "nan", "floor", "ceil", "trunc"}
) | {f"sym_{kind}" for kind in ("max", "min", "not", "float", "int", "ite", "sqrt")}
_WHY = "nothing was executed; ask for the weights alone (safetensors) and give --arch, or for an ONNX export"


def check_expressions(program: Any, name: str) -> None:  # noqa: ANN401 - JSON
    """Sums, products and comparisons of sizes, nothing else.

    Args:
        program: schema.ExportedProgram as JSON.
        name: for messages.

    Raises:
        UnsafeInput: a text is anything else.
    """
    for text in _expressions(program):
        if not _is_harmless(text, _SIZES, _is_size):
            raise UnsafeInput(
                f"{name} wants torch to evaluate {text[:120]!a} as the size of a tensor", hint=_WHY
            )
    for text in program.get("guards_code") or ():
        if not _is_harmless(text, _GUARDS, _is_guard):
            raise UnsafeInput(f"{name} wants torch to execute the guard {str(text)[:120]!a}", hint=_WHY)


def _expressions(tree: Any) -> Iterator[Any]:  # noqa: ANN401 - JSON
    waiting = [tree]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            if "expr_str" in part:
                yield part["expr_str"]
            waiting += part.values()
        elif isinstance(part, list):
            waiting += part


def _is_harmless(text: Any, syntax: tuple[type, ...], fits: Any) -> bool:  # noqa: ANN401
    if not isinstance(text, str) or len(text) > _LIMIT:
        return False
    try:
        tree = ast.parse(text.strip(), mode="eval")
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    return all(isinstance(node, syntax) and fits(node) for node in ast.walk(tree))


def _is_size(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id in _FUNCTIONS
    if isinstance(node, ast.Constant):
        return isinstance(node.value, int | float) or bool(_SYMBOL.fullmatch(str(node.value)))
    return not isinstance(node, ast.Name) or node.id in _FUNCTIONS or bool(_SYMBOL.fullmatch(node.id))


def _is_guard(node: ast.AST) -> bool:
    if isinstance(node, ast.Call):
        called = node.func
        return isinstance(called, ast.Attribute) or (isinstance(called, ast.Name) and called.id in _ROOTS)
    if isinstance(node, ast.Attribute):
        return node.attr in _MEMBERS
    return not isinstance(node, ast.Name) or node.id in _ROOTS
