"""The program as a process of its own, with a hand-made audit in place of the real one: without torch."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

import sample_report as sample

__all__ = ["STAND_IN", "TESTS", "shell"]

STAND_IN = """
import signal
# What starts the tests in the background makes them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
import ctypes, os, sys, types
kept = sys.stdout
sys.path.insert(0, {tests!r})
import sample_report
pipeline = types.ModuleType("lipaudit.pipeline")
def audit(model, *, progress=None, **arguments):
    {body}
    return sample_report.report()
pipeline.audit = audit
sys.modules["lipaudit.pipeline"] = pipeline
from lipaudit.cli import main
sys.exit(main(sys.argv[1:]))
"""
TESTS = os.path.dirname(sample.__file__)  # noqa: PTH120


def shell(command, body="pass", **options):
    """Run a shell command in which "$LIPAUDIT" is the program with a hand-made audit."""
    program = STAND_IN.format(tests=TESTS, body=textwrap.indent(body, "    ").strip())
    environment = os.environ | {"PROGRAM": program, "PYTHON": sys.executable, "LC_ALL": "C.UTF-8"}
    environment |= options.pop("env", {})
    command = 'lipaudit() { "$PYTHON" -c "$PROGRAM" "$@"; }; ' + command
    return subprocess.run(
        ["/bin/bash", "-c", command], capture_output=True, env=environment, timeout=120, check=False
    )
