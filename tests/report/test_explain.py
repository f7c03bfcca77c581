"""Every word that the program prints is explained, by the name it prints; nothing else is promised."""

import ast
import re
import typing
from itertools import pairwise
from pathlib import Path

import pytest

import lipaudit
from lipaudit.blocks import RULES
from lipaudit.certify.pairwise import FEATURES, THROUGH
from lipaudit.cli.commands import COMMANDS, command_named
from lipaudit.cli.explaining import _TITLES
from lipaudit.errors import ExitCode
from lipaudit.ops import OPS
from lipaudit.ops.activation import CONSTANTS
from lipaudit.passes.compose_activations import EXACT
from lipaudit.policy.requirement import CLAUSES
from lipaudit.report import layer_table
from lipaudit.report.explain import ENTRIES, find, near, short
from lipaudit.report.judgement import Metric, Waiver
from lipaudit.report.model import _CODES, Finding
from lipaudit.report.repair import Action, BiasAction
from lipaudit.report.repair_text import _FITTED
from lipaudit.spectral import METHODS
from lipaudit.spectral.select import PROFILES

PACKAGE = Path(lipaudit.__file__).parent


def of_kind(kind):
    return [entry.name for entry in ENTRIES if entry.kind == kind]


def test_every_finding_in_the_package_is_explained_and_no_other():
    explained = PACKAGE / "report" / "explain"
    sources = [path for path in PACKAGE.rglob("*.py") if explained not in path.parents]
    used = {rule for path in sources for rule in re.findall(r"LIP[0-9]{3}", path.read_text("utf-8"))}
    assert used == set(of_kind("finding"))


def test_names_are_those_of_the_engine():
    assert of_kind("method") == [method.name for method in METHODS]
    assert of_kind("rule") == [rule.name for rule in RULES]
    assert of_kind("verdict") == list(_CODES)
    assert of_kind("exit code") == [f"exit {code.value}" for code in ExitCode]


ENGINE = [path for part in ("ops", "passes") for path in sorted((PACKAGE / part).glob("*.py"))]
MAKERS = "_move|_simple|_plain|_monotone|_standardize|_softmax|Elementwise|Relayout"
NAMED = re.compile(rf"""(?:\bname(?:: str)?\s*=\s*|\b(?:{MAKERS})\(\s*)"([^"]+)\"""")


def literals(node):
    return [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]


def calls(path, *names):
    """The calls of these functions or methods in a file."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Call) and ast.unparse(node.func).split("(")[0] in names:
            yield node


def test_names_that_operations_are_given_in_the_source_are_explained():
    """What only f-strings make is run by the tests of `ops`."""
    sources = [*ENGINE, PACKAGE / "data" / "layer_zero.py"]
    names = {name for path in sources for name in NAMED.findall(path.read_text("utf-8")) if "{" not in name}
    names |= {name for name, _ in EXACT.values()} | set(CONSTANTS)
    assert {"conv2d", "frobnicate"} & names == set(), "conv2d comes from an f-string"
    assert {
        "max_min",
        "half_planes",
        "relu",
        "sort",
        "mul constant",
        "join",
        "arrange",
        "tanhshrink",
    } <= names
    assert not sorted(name for name in names if find(name) is None)


def test_torchs_own_names_of_operations_are_explained():
    """README lists them; `cat` is what most people call what a report calls concat."""
    public = {target.split(".")[1] for target in OPS}
    public = {name for name in public if not name.startswith("_") and not name.endswith("_copy")}
    assert {"cat", "view", "relu", "fft_irfft2"} <= public
    assert not sorted(name for name in public if find(name) is None)


def test_what_bounds_an_operation_is_explained():
    """The column `method`: the second argument of `Gain.of`, `Bound` and `Bound.computed`."""
    sources = [*ENGINE, PACKAGE / "compose.py"]
    found = [c for path in sources for c in calls(path, "Gain.of", "Bound", "Bound.computed")]
    methods = {word for call in found for argument in call.args[1:2] for word in literals(argument)}
    assert {"slope", "copies", "composition", "diagonal", "1/√eps"} <= methods
    assert not sorted(word for word in methods if find(word) is None)


def test_the_words_of_the_screen_are_explained():
    labels = {c.args[0].value for c in calls(PACKAGE / "report" / "text.py", "part")}
    columns = {column.title for column in layer_table._ORDER}
    curve = {w for c in calls(PACKAGE / "report" / "text.py", "table.add_column") for w in literals(c)}
    words = labels | columns | (curve - {"right"}) | {"share", "at most", "of", "certified"}
    words |= set(typing.get_args(Metric)) | {
        "clean accuracy",
        "median radius",
        "largest ratio seen",
        "report",
    }
    words |= set(typing.get_args(Finding.model_fields["level"].annotation)) | {
        "waived",
        "NOT WRITTEN",
        "whole",
    }
    compared = PACKAGE / "report" / "comparison"
    words |= {c.args[0].value for c in calls(compared / "text.py", "part")}
    words |= {w for c in calls(compared / "columns.py", "Column") for w in literals(c.args[0])}
    words = (words - {" ms"}) | {"forward ms", "train ms"}
    words |= {
        FEATURES,
        THROUGH,
        "√2·L",
        "L of the single logit",
        "real arithmetic",
        "not analysed",
        "data only",
    }
    assert {"reading", "next", "origin", "radius"} <= words
    assert not sorted(word for word in words if find(word) is None)


def test_the_words_of_repairs_and_spectra_are_explained():
    words = {
        *typing.get_args(Action),
        *typing.get_args(BiasAction),
        *map(str.strip, _FITTED["fitted"].split(",")),
    }
    words |= {"region", "regularizer", "SpectralClip"}
    assert "not asked for" in words
    assert not sorted(word for word in words if word and find(word) is None)


def test_the_words_of_policies_are_explained():
    for clause in CLAUSES:
        assert find(f"require.{clause}") is not None
        assert find(clause) is not None
    states = typing.get_args(Waiver.model_fields["state"].annotation)
    assert "unused" in states
    words = {*states, *(profile.name for profile in PROFILES), "profile"} - {"used"}
    assert not sorted(word for word in words if find(word) is None)


@pytest.mark.parametrize("name", ["aten.exp.default", "aten.foo", "ATEN.pow.Tensor_Scalar"])
def test_an_operation_without_a_rule_is_explained_by_torchs_name(name):
    assert find(name).name == "aten"


def test_kinds_have_titles_and_stand_together():
    kinds = [entry.kind for entry in ENTRIES]
    assert set(kinds) == set(_TITLES)
    assert sum(a != b for a, b in pairwise(kinds)) == len(_TITLES) - 1


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_entries_are_sentences(entry):
    for text in (entry.short, entry.why, entry.todo):
        assert not text or text.endswith(".")
        assert "  " not in text
        assert text.isprintable()
    assert entry.short
    assert entry.why
    assert "\n" not in entry.reference
    if entry.kind in ("finding", "verdict"):
        assert entry.todo
    if entry.kind in ("method", "rule"):
        assert re.search(r"\((19|20)\d\d\)|arXiv", entry.reference)
    for word in (entry.name, *entry.also):
        assert find(word) is find(word.upper()) is find(word.replace(" ", "-")) is entry


@pytest.mark.parametrize(
    "flag", sorted({f for e in ENTRIES for f in re.findall(r"--[a-z-]+", e.why + e.todo)})
)
def test_flags_exist(flag):
    assert flag in {name for c in COMMANDS for p in command_named(c).params for name in p.opts} | {
        "--help-all"
    }


@pytest.mark.parametrize(
    "word", sorted({w for e in ENTRIES for w in re.findall(r"`lipaudit explain (\w+)`", e.why + e.todo)})
)
def test_references_lead_somewhere(word):
    assert find(word)


def test_short_is_one_sentence():
    assert short("LIP101") == "A layer has no bound, so the network has none."
    assert short("LIP999") == ""


@pytest.mark.parametrize(
    ("typed", "meant"), [("LIP1O1", "LIP101"), ("slak", "slack"), ("supremium", "supremum")]
)
def test_what_is_misspelt_is_suggested(typed, meant):
    assert find(typed) is None
    assert meant in near(typed)


@pytest.mark.parametrize("word", ["xyz", "lorem", "frobnicate", "certificate authority", "banana"])
def test_what_resembles_nothing_gets_no_suggestion(word):
    assert near(word) == ()


@pytest.mark.parametrize("word", ["", " ", "x" * 100_000, "\x1b[2J", "LIP", "exit", "١", "exit 6"])
def test_odd_words_are_unknown(word):
    assert find(word) is None
    near(word[:1000])


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("w_y", "difference of two scores"),
        ("through the last dense layers", "difference of two scores"),
        ("by curvature", "sigmoid"),
        ("dual", "strongly convex"),
        ("singular value", "or more"),
        ("softplus", "lipaudit explain curvature"),
    ],
)
def test_what_proves_radii_by_curvature_is_explained(word, told):
    entry = find(word)
    assert told in f"{entry.short} {entry.why}"
