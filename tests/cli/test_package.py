"""The public names: lazy, complete, and none of them shadowed by a submodule."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import lipaudit

PACKAGE = Path(lipaudit.__file__).parent


def test_importing_the_package_loads_nothing():
    program = "import sys, lipaudit; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(done.stdout.split()) & {"torch", "numpy", "pydantic", "rich", "typer"}


def test_no_submodule_shares_a_public_name_but_those_that_are_public_modules():
    submodules = {path.stem for path in PACKAGE.iterdir()}
    assert submodules & set(lipaudit.__all__) == lipaudit._MODULES
    assert all(getattr(lipaudit, name).__name__ == f"lipaudit.{name}" for name in lipaudit._MODULES)


@pytest.mark.parametrize(
    "name", [n for n in lipaudit.__all__ if n in {"AuditReport", "Bound", "Bracket", "Estimate"}]
)
def test_names_are_found(name):
    assert getattr(lipaudit, name).__name__ == name
    assert name in dir(lipaudit)


def test_what_the_package_imports_for_itself_is_not_listed():
    assert not set(dir(lipaudit)) & {"os", "import_module", "TYPE_CHECKING", "annotations"}


def test_every_name_has_a_home():
    assert set(lipaudit._HOME) | lipaudit._MODULES == set(lipaudit.__all__) - {"__version__"}
    assert not set(lipaudit._HOME) & lipaudit._MODULES


def test_the_type_checker_sees_the_same_homes():
    tree = ast.parse((PACKAGE / "__init__.py").read_text(encoding="utf-8"))
    (guarded,) = [node for node in tree.body if isinstance(node, ast.If)]
    seen = {name.name: node.module for node in guarded.body for name in node.names}
    assert seen == lipaudit._HOME | dict.fromkeys(lipaudit._MODULES, "lipaudit")


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = lipaudit.nothing_like_it


def test_the_version_is_the_projects():
    project = PACKAGE.parent / "pyproject.toml"
    if not project.exists():
        pytest.skip("installed without its sources")
    assert tomllib.loads(project.read_text(encoding="utf-8"))["project"]["version"] == lipaudit.__version__
