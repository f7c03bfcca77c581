"""action.yml and .pre-commit-hooks.yaml: valid, true to the command line, and safe with what users write."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from check_jsonschema.builtin_schemas import get_builtin_schema
from ruamel.yaml import YAML

from lipaudit.cli.commands import COMMANDS, command_named

ROOT = Path(__file__).parents[1]
ACTION = YAML(typ="safe").load(ROOT / "action.yml")
HOOKS = {hook["id"]: hook for hook in YAML(typ="safe").load(ROOT / ".pre-commit-hooks.yaml")}
AUDIT = next(step for step in ACTION["runs"]["steps"] if step.get("id") == "audit")
STAND_IN = """#!/bin/sh
for word in "$@"; do printf '%s\\n' "$word"; done > "$RUNNER_TEMP/called"
if [ -n "$STAND_IN_WRITES" ]; then touch "$REPORT" "$SARIF"; fi
exit "$STAND_IN_CODE"
"""


def options_of(command):
    return {name for parameter in command_named(command).params for name in parameter.opts}


def test_the_action_is_one():
    jsonschema.Draft7Validator(get_builtin_schema("vendor.github-actions")).validate(ACTION)


def test_actions_are_pinned_and_inputs_are_never_pasted_into_a_script():
    for step in ACTION["runs"]["steps"]:
        assert "run" in step or re.fullmatch(r"[\w-]+/[\w/-]+@v\d+", step["uses"])
        assert "${{" not in step.get("run", "")
    used = set(re.findall(r"inputs\.([\w-]+)", (ROOT / "action.yml").read_text(encoding="utf-8")))
    assert used == set(ACTION["inputs"])
    assert ACTION["inputs"]["upload"]["default"] == "false"
    uploads = [step for step in ACTION["runs"]["steps"] if "upload" in step.get("uses", "")]
    assert len(uploads) == 2
    assert all("inputs.upload == 'true'" in step["if"] for step in uploads)


def test_the_options_of_the_action_exist():
    used = set(re.findall(r"(--[a-z][a-z-]*)", AUDIT["run"]))
    assert {"--dataset", "--output", "--policy"} == used
    assert used <= options_of("audit")


@pytest.fixture
def step(tmp_path):
    """Runs the action's script with a program that notes its arguments in place of lipaudit."""
    folder = tmp_path / "lipaudit" / "bin"
    folder.mkdir(parents=True)
    (folder / "lipaudit").write_text(STAND_IN)
    (folder / "lipaudit").chmod(0o755)
    (folder / "python").symlink_to(sys.executable)

    def run(code=0, *, writes=True, **inputs):
        given = {name: row.get("default", "") for name, row in ACTION["inputs"].items()} | inputs
        environment = {"PATH": os.environ["PATH"], "RUNNER_TEMP": str(tmp_path), "STAND_IN_CODE": str(code)}
        environment["STAND_IN_WRITES"] = "1" if writes else ""
        environment["GITHUB_OUTPUT"] = str(tmp_path / "output")
        for name, value in AUDIT["env"].items():
            (key,) = re.fullmatch(r"\$\{\{ inputs\.([\w-]+) \}\}", value).groups()
            environment[name] = given[key]
        bash = shutil.which("bash")
        done = subprocess.run(
            [bash, "--noprofile", "--norc", "-eo", "pipefail", "-c", AUDIT["run"]],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        run.printed = (done.stdout + done.stderr).splitlines()
        called, output = tmp_path / "called", tmp_path / "output"
        words = called.read_text().splitlines() if called.exists() else None
        told = dict(line.split("=", 1) for line in output.read_text().splitlines()) if output.exists() else {}
        return done.returncode, words, told

    return run


def test_the_step_calls_lipaudit(step):
    code, words, told = step(
        model="-m [x] $(id).onnx", dataset="npz:a b.npz", policy="p q.toml", args="--eps '1/2' -q"
    )
    assert code == 0
    assert words == [
        *("audit", "--dataset", "npz:a b.npz", "--output", "json=lipaudit-report.json"),
        *("--output", "sarif=lipaudit-report.sarif", "--eps", "1/2", "-q", "--policy", "p q.toml"),
        *("--", "-m [x] $(id).onnx"),
    ]
    assert told == {"exit-code": "0", "report": "lipaudit-report.json", "sarif": "lipaudit-report.sarif"}


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 70, 130])
def test_the_step_ends_with_lipaudits_code(step, code):
    found, _, told = step(code=code, model="m.onnx")
    assert (found, told["exit-code"]) == (code, str(code))
    assert ("sarif" in told) == (code in (0, 1, 3))


def test_older_reports_are_not_the_steps(step, tmp_path):
    for name in ("lipaudit-report.json", "lipaudit-report.sarif"):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (1, 1))
    assert step(model="m", writes=False)[2] == {"exit-code": "0"}
    (tmp_path / "output").unlink()
    assert set(step(model="m")[2]) == {"exit-code", "report", "sarif"}


def test_reports_that_are_not_there_are_not_told(step):
    assert step(model="m", writes=False)[2] == {"exit-code": "0"}


def test_modules_of_the_workspace_are_not_imported(step, tmp_path):
    (tmp_path / "shlex.py").write_text("raise SystemExit(9)")
    code, words, _ = step(model="m", args="--eps 1")
    assert code == 0
    assert words[-4:] == ["--eps", "1", "--", "m"]


def test_further_options_are_words_not_commands(step, tmp_path):
    step(model="m", args=f"--logits '$(touch {tmp_path}/ran)' `id` ; --eps 1")
    assert not (tmp_path / "ran").exists()


def test_a_quotation_without_an_end_is_an_error(step):
    code, words, told = step(model="m", args="--max-lipschitz '20")
    assert (code, words, told) == (2, None, {"exit-code": "2"})
    (line,) = step.printed
    assert line.startswith("::error title=lipaudit::the input args cannot be split into words: ")
    assert line.endswith("No closing quotation")


@pytest.mark.parametrize("name", HOOKS)
def test_hooks(name):
    hook = HOOKS[name]
    assert {"id", "name", "entry", "language"} <= set(hook)
    assert hook["pass_filenames"] is False


POLICIES = ("lipaudit.toml", "ci/lipaudit.toml", "pyproject.toml")
MODELS = ("model.onnx", "a/b.onnx", "model.onnx.data", "m.pt2", "w.safetensors", "w.pt", "w.pth", "w.ckpt")
REPORTS = ("lipaudit-report.json", "ci/lipaudit.json")


@pytest.mark.parametrize(
    ("name", "files"),
    [
        ("lipaudit-policy-check", POLICIES),
        ("lipaudit-gate", (*POLICIES, *REPORTS, *MODELS)),
        ("lipaudit-verify", (*REPORTS, *MODELS)),
    ],
)
def test_hooks_run_when_what_they_read_changes(name, files):
    pattern = re.compile(HOOKS[name]["files"])
    every = {*POLICIES, *REPORTS, *MODELS, "onnx", "README.md", "net.py", "package.json"}
    assert {file for file in every if pattern.search(file)} == set(files)


def test_the_gates_hook_runs_where_the_action_writes():
    report = ACTION["inputs"]["report"]["default"]
    assert HOOKS["lipaudit-gate"]["args"] == [report]
    assert HOOKS["lipaudit-gate"]["verbose"] is True, "a warning of a gate that passes would not be seen"
    assert HOOKS["lipaudit-verify"]["args"][0] == report
    assert re.search(HOOKS["lipaudit-gate"]["files"], report)


@pytest.mark.parametrize("name", HOOKS)
def test_hooks_call_commands(name):
    program, *words = shlex.split(HOOKS[name]["entry"])
    assert program == "lipaudit"
    assert " ".join(words) in COMMANDS
