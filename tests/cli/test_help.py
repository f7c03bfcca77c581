"""Help is quick, true and complete."""

import json
import re
import subprocess
import sys

import pytest

from lipaudit import __version__
from lipaudit.cli.commands import COMMANDS, command_named
from lipaudit.cli.help import help_text
from lipaudit.errors import ExitCode
from lipaudit.report.canonical import shipped_schema

OPTION = re.compile(r"^ {2}(?:-\w, )?(--[a-z-]+)", re.MULTILINE)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["-h"], ["audit", "--help"], ["audit", "-h"], ["x.onnx", "--help"]]
)
def test_help_shows_a_dozen_options(run, arguments):
    done = run(*arguments)
    assert done.code == 0
    assert done.err == ""
    assert 10 <= len(OPTION.findall(done.out)) <= 14
    assert max(map(len, done.out.splitlines())) <= 80


def test_help_all_shows_every_option_and_exit_code(run):
    text = run("--help-all").out
    shown = set(OPTION.findall(text))
    for parameter in command_named("audit").params:
        if parameter.param_type_name == "option":
            assert shown.intersection(parameter.opts)
            assert parameter.help
    assert {"--help", "--help-all", "--version"} <= shown
    words = " ".join(text.split())
    for code in ExitCode:
        assert f"{code.value} {code.meaning}" in words


def test_every_command_has_help(run):
    for name in COMMANDS:
        done = run(*name.split(), "--help")
        assert done.code == 0
        assert f"lipaudit {name}" in done.out or name == "audit"
        assert name in run("--help").out


@pytest.mark.parametrize(
    "arguments",
    [
        "x.onnx --max-lipschitz 1 --version",
        "x.onnx --max-lipschitz 1 --help",
        "x.onnx -o --help",
        "x.onnx --version",
        "-q x.onnx -h",
        "-q -h",
        "--help x.onnx",
        "--help --max-lipschitz 1",
        "--version --help",
        "--help --help",
        "audit x.onnx -V",
        "audit x.onnx --help-all",
        "gate r.json --help",
        "gate r.json --max-lipschitz 1 -V",
        "gate --policy --help r.json",
        "policy check --help lipaudit.toml",
        "verify r.json --model x.onnx --version",
        "--help -- x.onnx",
    ],
)
def test_help_and_version_never_take_the_place_of_work(run, pipeline, arguments):
    done = run(*arguments.split())
    assert done.code == 2
    assert done.out == ""
    assert "stands alone or behind a command's name" in done.err
    assert not pipeline.calls


@pytest.mark.parametrize("arguments", ["policy --help", "policy check -h", "baseline -h", "gate --help-all"])
def test_help_of_the_commands_that_are_named(run, arguments):
    *command, _ = arguments.split()
    done = run(*arguments.split())
    assert done.code == 0
    assert f"lipaudit {' '.join(command)}" in done.out
    assert "lipaudit MODEL" not in done.out


def test_after_two_dashes_help_is_a_file(run):
    assert run("--", "--help").code == 5


def test_version(run):
    assert run("--version").out == run("-V").out == f"lipaudit {__version__}\n"
    assert run("gate", "--version").out == run("policy", "check", "-V").out == f"lipaudit {__version__}\n"


def test_schema(run):
    done = run("schema")
    assert done.code == 0
    assert done.out == shipped_schema()
    assert json.loads(done.out)["title"] == "AuditReport"
    assert run("schema", "extra").code == 2


def loaded(code):
    program = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    return set(done.stderr.split())


def test_help_imports_nothing_heavy():
    modules = loaded("from lipaudit.cli import main\nmain(['--help'])")
    assert not modules & {"torch", "numpy", "onnx", "pydantic"}


def test_errors_before_the_audit_do_not_import_torch():
    modules = loaded("from lipaudit.cli import main\nmain(['missing.onnx'])\nmain(['schema'])")
    assert not modules & {"torch", "numpy", "onnx"}


@pytest.mark.parametrize("command", [["--help"], ["--help-all"], ["audit", "--help"], ["--version"]])
def test_the_process_itself_imports_nothing_heavy(command):
    """What makes `--help` quick; how quick it is, `benchmarks/startup.py` measures."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "lipaudit", *command],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if "|" in line}
    assert "lipaudit.cli.entry" in imported
    heavy = {"torch", "torchvision", "onnx", "onnxruntime", "numpy", "pydantic"}
    assert not {name.partition(".")[0] for name in imported} & heavy


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "audit"])
def test_help_of_a_command_tells_of_itself(command):
    assert "  -h, --help              This text.\n" in help_text(command)


@pytest.mark.parametrize("command", ["spectrum", "compare", "gate", "verify", "diff-model"])
def test_examples_of_a_command_can_be_parsed(run, command):
    lines = run(command, "--help").out.split("Examples:\n")[1].splitlines()
    flags = {name for parameter in command_named(command).params for name in parameter.opts}
    assert len(lines) >= 3
    for line in lines:
        assert len(line) <= 80
        assert line.startswith(f"  lipaudit {command} ")
        assert {word for word in line.split() if word.startswith("-")} <= flags
