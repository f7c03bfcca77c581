"""The shape of the code, read from its syntax trees: who may import whom, and the house's limits."""

from __future__ import annotations

import ast
import re
import sys
from pathlib import Path

import pytest

import lipaudit

PACKAGE = Path(lipaudit.__file__).parent
ROOT = PACKAGE.parent
ORDER = [
    "errors",
    "moment",
    "rounding",
    "bound",
    "spectral",
    "bounds",
    "layers",
    "graph",
    "ops",
    "passes",
    "load",
    "data",
    "subject",
    "analyze",
    "blocks",
    "compose",
    "certify",
    "report",
    "difference",
    "policy",
    "attest",
    "clock",
    "finished",
    "cost",
    "pipeline",
    "comparison",
    "spectrum",
    "repair",
    "training",
    "cli",
]  # left never imports right
FILES = sorted(PACKAGE.rglob("*.py"))
FACADES = {"__init__.py", "__main__.py"}
INNER = [path for path in FILES if str(path.relative_to(PACKAGE)) not in FACADES]
LIGHT = {"errors", "moment", "rounding", "bound", "report", "policy", "cli"}
"""Parts that answer before torch is imported, which takes seconds."""
UNFINISHED = re.compile(r"\b(TOD[O]|FIXM[E]|XX[X]|HAC[K])\b")


def shown(path):
    return str(path.relative_to(PACKAGE))


def tree_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def part_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def targets(node):
    """The dotted names an import statement may load; nothing here imports relatively."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.level == 0, f"relative import in line {node.lineno}"
        return [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return []


def imported(nodes):
    return {name for node in nodes for name in targets(node)}


def parts_imported(path):
    names = imported(ast.walk(tree_of(path)))
    parts = {name.split(".")[1] for name in names if name.startswith("lipaudit.")}
    return parts - {"__version__"}


def at_load_time(path):
    """Names imported when the module is: not inside functions, not for type checkers only."""
    waiting, found = list(tree_of(path).body), set()
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            waiting += node.orelse
            continue
        found.update(targets(node))
        waiting += ast.iter_child_nodes(node)
    return found


def module_file(name):
    base = PACKAGE.joinpath(*name.split(".")[1:])
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


@pytest.mark.parametrize("path", INNER, ids=shown)
def test_imports_point_left(path):
    place = ORDER.index(part_of(path))
    right = {part for part in parts_imported(path) if ORDER.index(part) > place}
    assert not right


@pytest.mark.parametrize("name", ["checker.py", "tridiagonal.py"])
def test_the_checkers_import_nothing_of_the_search(name):
    checker = PACKAGE / "spectral" / name
    names = {
        n for n in imported(ast.walk(tree_of(checker))) if n.split(".")[0] not in sys.stdlib_module_names
    }
    allowed = ("lipaudit.errors", "lipaudit.rounding", "lipaudit.spectral.checker", "torch")
    assert all(any(name == a or name.startswith(f"{a}.") for a in allowed) for name in names)


@pytest.mark.parametrize("path", [p for p in INNER if part_of(p) in LIGHT], ids=shown)
def test_light_parts_load_no_torch(path):
    waiting, seen = [path], set()
    while waiting:
        current = waiting.pop()
        if current in seen:
            continue
        seen.add(current)
        names = at_load_time(current)
        heavy = {name for name in names if name.split(".")[0] in {"torch", "onnx", "onnxruntime"}}
        assert not heavy, f"{shown(current)} imports {heavy}"
        waiting += [file for name in names if name.startswith("lipaudit.") and (file := module_file(name))]


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_files_keep_the_house_rules(path):
    text = path.read_text(encoding="utf-8")
    tree = tree_of(path)
    assert len(text.splitlines()) <= 400
    assert not text or ast.get_docstring(tree), "a file opens with a docstring"
    assert path.stem not in {"utils", "helpers", "common", "misc"}
    assert not UNFINISHED.search(text)
    stars = [n for n in ast.walk(tree) if isinstance(n, ast.ImportFrom) and n.names[0].name == "*"]
    assert not stars
    if part_of(path) != "cli":
        calls = [
            n.func.id for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
        ]
        assert "print" not in calls


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_functions_are_short(path):
    """At most 50 lines; a docstring and the list of arguments may take more."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) is not None else node.body
            if body:
                written = [line for line in lines[body[0].lineno - 1 : node.end_lineno] if line.strip()]
                assert len(written) <= 50, f"{node.name}: {len(written)} lines"


def test_every_part_has_a_place():
    parts = {part_of(path) for path in INNER}
    assert parts <= set(ORDER)


@pytest.mark.parametrize("name", ["README.md", "CHANGELOG.md", "pyproject.toml", "sample_models/README.md"])
def test_texts_stand_for_themselves(name):
    path = ROOT / name
    if not path.exists():
        pytest.skip("installed without its sources")
    text = path.read_text(encoding="utf-8")
    assert not re.search(r"\.\./shared|\bsessions?\b|workplace|/work/", text, re.IGNORECASE)
    assert not UNFINISHED.search(text)
