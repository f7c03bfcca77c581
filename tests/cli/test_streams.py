"""stdout is data; libraries' chatter, warnings and hung-up readers do not touch it or the exit code."""

import json
import os
import subprocess
import sys
import textwrap

import pytest
import sample_report as sample

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


CHATTER = """
kept.write("kept\\n")
print("printed")
os.write(1, b"written\\n")
ctypes.CDLL(None).puts(b"from C")
os.system("echo from a child")
"""


def test_library_output_goes_to_stderr(model):
    done = shell(f'lipaudit "{model}" -q -o json=-', CHATTER)
    assert json.loads(done.stdout)["verdict"] == "pass"
    for word in (b"kept", b"printed", b"written", b"from C", b"from a child"):
        assert word in done.stderr


WARN = """
import logging, warnings
warnings.warn("deprecated", DeprecationWarning)
logging.getLogger("torch.onnx").warning("logged")
"""


def test_warnings_and_logs_are_for_the_curious(model):
    assert shell(f'lipaudit "{model}"', WARN).stderr == b""
    done = shell(f'lipaudit "{model}" -v', WARN)
    assert b"deprecated" in done.stderr
    assert b"logged" in done.stderr
    assert b"deprecated" not in done.stdout


@pytest.mark.skipif(sys.platform == "darwin", reason="file names are UTF-8 there")
def test_names_that_are_no_utf8(model, tmp_path):
    done = shell(f"""cd "{tmp_path}" && lipaudit "{model}" -o "$(printf 'caf\\xe9.json')" """)
    assert done.returncode == 0
    assert done.stderr == b"wrote caf\xe9.json\n"
    assert b"caf\xe9.json" in {os.fsencode(path.name) for path in tmp_path.iterdir()}


def test_a_closed_pipe_keeps_the_exit_code(model):
    done = shell(f'lipaudit "{model}" | true; echo "${{PIPESTATUS[0]}}" >&2')
    assert done.stderr.decode().strip() == "0"
    done = shell('lipaudit --help-all | true; echo "${PIPESTATUS[0]}" >&2')
    assert done.stderr.decode().strip() == "0"


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&-"])
def test_closed_streams_keep_the_exit_code(model, closed):
    done = shell(f'lipaudit "{model}" {closed}; exit $?')
    assert done.returncode == 0
    done = shell(f'lipaudit "{model}.no" {closed}; exit $?')
    assert done.returncode == 5


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")  # noqa: PTH110
def test_a_full_disk_is_told(model):
    done = shell(f'lipaudit "{model}" > /dev/full')
    assert done.returncode == 2
    assert b"cannot write to stdout" in done.stderr


@pytest.mark.parametrize(
    "locale", [{"LC_ALL": "C"}, {"PYTHONIOENCODING": "ascii"}, {"PYTHONIOENCODING": "latin-1"}]
)
def test_any_locale_will_do(model, locale):
    done = shell(f'lipaudit "{model}"', env=locale)
    assert done.returncode == 0
    assert b"PASS (exit 0" in done.stdout


def test_the_end_of_the_process_is_the_exit_code(model):
    assert shell(f'lipaudit "{model}"', "raise SystemExit(0)").returncode == 70
    assert shell(f'lipaudit "{model}"', "raise KeyboardInterrupt").returncode == 130
    assert (
        shell(f'lipaudit "{model}"', "os.kill(os.getpid(), 2); import time; time.sleep(5)").returncode == 130
    )


def test_no_colour_without_a_terminal(run, pipeline, model, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in run(model).out
    assert pipeline.calls


@pytest.mark.parametrize(
    ("environment", "coloured"),
    [({"TERM": "xterm"}, True), ({"TERM": "dumb"}, False), ({"TERM": "xterm", "NO_COLOR": "1"}, False)],
)
def test_colour_on_a_terminal(model, environment, coloured):
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    program = STAND_IN.format(tests=TESTS, body="pass")
    clean = {k: v for k, v in os.environ.items() if k != "NO_COLOR"}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(model)], stdout=slave, stderr=slave, env=clean | environment
    ) as process:
        os.close(slave)
        text = b""
        while chunk := _read(master):
            text += chunk
    os.close(master)
    assert process.returncode == 0
    assert (b"\x1b[1;32mPASS" in text) == coloured
    assert b"(exit 0: " in text.splitlines()[-1]


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side has closed
        return b""
