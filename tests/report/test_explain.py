"""Every word that the program prints is explained, by the name it prints; nothing else is promised."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

import lipaudit
from lipaudit.blocks import RULES
from lipaudit.cli.commands import COMMANDS, command_named
from lipaudit.cli.explaining import _TITLES
from lipaudit.errors import ExitCode
from lipaudit.report.explain import ENTRIES, find, near, short
from lipaudit.report.model import _CODES
from lipaudit.spectral import METHODS

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


@pytest.mark.parametrize("word", ["", " ", "x" * 100_000, "\x1b[2J", "LIP", "exit", "١", "exit 6"])
def test_odd_words_are_unknown(word):
    assert find(word) is None
    near(word[:1000])
