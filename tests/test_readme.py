"""README says what the program does: exit codes, commands that exist, and the test command that CI runs."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from lipaudit.cli.commands import COMMANDS, command_named
from lipaudit.errors import ExitCode

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```\w*\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
CALLS = [
    shlex.split(call.removeprefix(".venv/bin/"), comments=True)[1:]
    for block in BLOCKS
    for call in re.findall(r"(?:^|&& )((?:\.venv/bin/)?lipaudit .*)$", block, re.MULTILINE)
]


def test_exit_codes():
    rows = dict(re.findall(r"^\| (\d+) \| (.+) \|$", README, re.MULTILINE))
    assert set(rows) == {str(code.value) for code in ExitCode}
    for code in ExitCode:
        assert rows[str(code.value)].startswith(code.meaning)


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_shown_commands_exist(call):
    known = {name for p in command_named("audit").params for name in p.opts if name.startswith("-")}
    assert {word for word in call if word.startswith("-")} <= known
    assert call[0] in COMMANDS or "." in call[0]


def test_commands_are_shown():
    assert len(CALLS) >= 5


@pytest.mark.parametrize("link", re.findall(r"\]\(([^)#:]+)\)", README))
def test_links_lead_somewhere(link):
    assert (ROOT / link).exists()


def test_files_in_commands_exist():
    for path in re.findall(r"sample_models/[\w./]+\w", README):
        assert (ROOT / path).exists()


def test_ci_runs_the_very_command():
    script = ROOT / ".ci" / "run"
    if not script.exists():
        pytest.skip("no CI script beside the sources")
    (line,) = re.findall(r"^command=.*$", script.read_text(encoding="utf-8"), re.MULTILINE)
    done = subprocess.run(
        ["/bin/bash", "-c", f'{line}\nprintf %s "$command"'],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert "pytest" in done.stdout
    assert done.stdout + "\n" in BLOCKS
