"""stdout is data; libraries' chatter, warnings and hung-up readers do not touch it or the exit code."""

import csv
import json
import os
import subprocess
import sys
from xml.etree import ElementTree as ET

import pytest
import sample_report as sample
import tiny_models as tiny
from rich.cells import cell_len
from stand_in import STAND_IN, TESTS, shell

from lipaudit.report import FORMATS, from_json

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
logging.getLogger("torch.onnx").info("told")
"""


def test_warnings_and_logs_are_for_the_very_curious(model):
    assert shell(f'lipaudit "{model}"', WARN).stderr == b""
    assert shell(f'lipaudit "{model}" -v', WARN).stderr == b"     3.2 s  spectral\n     9.2 s  certify\n"
    for flags in ("-vv", "-v -v", "-vvv", "--verbose --verbose"):
        done = shell(f'lipaudit "{model}" {flags}', WARN)
        assert b"DeprecationWarning: deprecated" in done.stderr
        assert b"WARNING torch.onnx: logged" in done.stderr
        assert b"INFO torch.onnx: told" in done.stderr
        assert b"3.2 s  spectral" in done.stderr
        assert b"deprecated" not in done.stdout


# Machine formats, whatever else is going on

ODD = "[red]x[/red] Größe"


READ = {
    "json": from_json,
    "sarif": json.loads,
    "junit": ET.fromstring,
    "svg": ET.fromstring,
    "csv": lambda text: list(csv.reader(text.splitlines(), strict=True)),
}
"""What reads a machine format back."""


@pytest.fixture
def odd(tmp_path):
    """A folder and a file whose names try markup and other alphabets."""
    (tmp_path / ODD).mkdir(parents=True)  # its slash makes two folders
    (tmp_path / ODD / "模型.onnx").write_bytes(b"model")
    return tmp_path


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_on_stdout_is_alone_and_unfolded(odd, name):
    terminal = "COLUMNS=40 TERM=xterm FORCE_COLOR=1"
    noisy = f'cd "{odd}" && {terminal} lipaudit "{ODD}/模型.onnx" -d mnist -vv -o {name}=-'
    done = shell(noisy, CHATTER + WARN)
    assert done.returncode == 0
    expected = FORMATS[name].render(sample.report())
    assert done.stdout.decode() == expected
    assert b"logged" in done.stderr
    READ.get(name, str)(expected)


def test_bracketed_and_foreign_paths_are_verbatim(odd):
    """As the model, as a target, and in an error."""
    told = 'sys.stderr.write(model + "\\n")'
    done = shell(f'cd "{odd}" && lipaudit "{ODD}/模型.onnx" -o "{ODD}/報告 [b].json"', told)
    assert done.stderr.decode() == f"{ODD}/模型.onnx\nwrote {ODD}/報告 [b].json\n"
    assert from_json((odd / ODD / "報告 [b].json").read_text("utf-8"))
    done = shell(f'cd "{odd}" && lipaudit "{ODD}/模型 2.onnx"')
    assert done.returncode == 5
    assert f"no such file: {ODD}/模型 2.onnx\n" in done.stderr.decode()


def test_the_screen_fits_the_terminal(model):
    for columns, widest in ((40, 60), (60, 60), (96, 96), (150, 150), (500, 200)):
        text = on_terminal(model, {"TERM": "dumb", "COLUMNS": str(columns)})
        *lines, _ = text.decode().splitlines()
        assert max(map(cell_len, lines)) <= widest
        assert ("shape" in text.decode()) == (widest >= 120)


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


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_are_nobody_elses_number(tmp_path, closed):
    """The process that reads the model is handed two descriptors; one of them must not be stdout."""
    tiny.write_onnx(tmp_path / "m.onnx")
    command = f'"$1" -m lipaudit "$2" -o json="$3" {closed}'
    done = subprocess.run(
        ["/bin/bash", "-c", command, "bash", sys.executable, tmp_path / "m.onnx", tmp_path / "r.json"],
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0
    assert from_json((tmp_path / "r.json").read_text("utf-8")).verdict == "pass"


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
    ("environment", "flags", "coloured"),
    [
        ({"TERM": "xterm"}, (), True),
        ({"TERM": "dumb"}, (), False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, (), False),
        ({"TERM": "xterm"}, ("--color", "never"), False),
        ({"TERM": "dumb", "NO_COLOR": "1"}, ("--color", "always"), True),
    ],
)
def test_colour_on_a_terminal(model, environment, flags, coloured):
    text = on_terminal(model, environment, *flags)
    assert (b"\x1b[1;32mPASS" in text) == coloured
    assert (b"\x1b[" in text.replace(b"\x1b[?25", b"")) == coloured or "xterm" in environment["TERM"]
    assert b"(exit 0: " in text.splitlines()[-1]


def test_colour_can_be_asked_for_without_a_terminal(run, pipeline, model):
    assert "\x1b[1;32mPASS" in run(model, "--color", "always").out
    assert "\x1b" not in run(model, "--color", "always", "-o", "json=-").out
    assert pipeline.calls


def on_terminal(model, environment, *flags):
    """What the program writes to a terminal."""
    pty = pytest.importorskip("pty")
    master, slave = pty.openpty()
    program = STAND_IN.format(tests=TESTS, body="pass")
    clean = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "COLUMNS")}
    with subprocess.Popen(
        [sys.executable, "-c", program, str(model), *flags],
        stdout=slave,
        stderr=slave,
        env=clean | environment,
    ) as process:
        os.close(slave)
        text = b""
        while chunk := _read(master):
            text += chunk
    os.close(master)
    assert process.returncode == 0
    return text


def _read(descriptor):
    try:
        return os.read(descriptor, 65536)
    except OSError:  # the other side has closed
        return b""
