"""`lipaudit explain`: offline, without torch, and helpful about words it does not know."""

import subprocess
import sys

import pytest

from lipaudit.report.explain import ENTRIES


def test_alone_it_lists_everything(run):
    done = run("explain")
    assert done.code == 0
    for entry in ENTRIES:
        assert f"  {entry.name} " in done.out
    assert max(map(len, done.out.splitlines())) <= 80


@pytest.mark.parametrize(
    "words", [["LIP101"], ["lip101"], ["gram"], ["exit", "3"], ["3"], ["skew", "polynomial"]]
)
def test_an_entry_says_what_why_and_what_to_do(run, words):
    done = run("explain", *words)
    assert done.code == 0
    assert done.err == ""
    assert "Why it matters: " in done.out
    assert max(map(len, done.out.splitlines())) <= 80


def test_a_finding_says_what_to_do(run):
    assert "What to do: Replace the operation" in run("explain", "LIP101").out


def test_a_method_has_its_paper(run):
    assert "Reference: Delattre" in run("explain", "gram").out


def test_an_unknown_word_is_usage_with_a_suggestion(run):
    done = run("explain", "LIP1O1")
    assert done.code == 2
    assert done.out == ""
    assert "LIP101" in done.err
    assert run("explain", "[red]\x1b[2Jx").code == 2


def test_it_needs_neither_torch_nor_the_network():
    program = (
        "import socket, sys\n"
        "socket.socket = None\n"
        "from lipaudit.cli import main\n"
        "main(['explain', 'LIP101'])\n"
        "print(*sys.modules, file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert not {"torch", "onnx", "numpy"} & set(done.stderr.split())
