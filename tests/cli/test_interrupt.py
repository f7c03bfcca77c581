"""Ctrl-C on a process: the finished part is written whole, and a second Ctrl-C ends at once."""

import json
import signal
import subprocess
import sys
import time

import pytest
import tiny_models as tiny
from sample_screens import SCREENS
from stand_in import shell

from lipaudit.cli import interrupts
from lipaudit.report import from_json, to_text

PRESS = """
import signal, time
from sample_screens import SCREENS
from lipaudit.report.interruption import Interrupted
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(5)
except KeyboardInterrupt:
    raise Interrupted(SCREENS["interrupted"]) from None
"""
AGAIN = """
import signal
from lipaudit.report import FORMATS
def rendered(report):
    os.kill(os.getpid(), signal.SIGINT)
object.__setattr__(FORMATS["json"], "render", rendered)
"""
PROGRAM = """
import os, signal, sys
# What starts the tests in the background makes them ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
from lipaudit.clock import Clock
begin = Clock.stage
def begun(self, name, total):
    begin(self, name, total)
    if name == "attacking the claims":
        os.kill(os.getpid(), signal.SIGINT)
Clock.stage = begun
from lipaudit.cli import main
sys.exit(main(sys.argv[1:]))
"""


def test_the_real_program(tmp_path):
    tiny.write_onnx(tmp_path / "m.onnx")
    data = tiny.write_samples(tmp_path / "s.npz")
    (tmp_path / "old.json").write_text("old")
    options = ["-o", "old.json", "-o", "new.txt", "--max-lipschitz", "9", "--min-certified", "0.1:0.1"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "m.onnx", "-d", data, *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 130
    assert done.stdout.splitlines()[-1] == "INCOMPLETE (exit 130: interrupted)"
    assert "LIP307" in done.stdout
    assert "Traceback" not in done.stderr
    report = from_json((tmp_path / "old.json").read_text(encoding="utf-8"))
    assert (report.verdict, report.exit_code) == ("incomplete", 130)
    assert (tmp_path / "new.txt").read_text(encoding="utf-8") == done.stdout
    assert report.evidence.dataset.num_evaluated == report.evidence.robustness.clean_accuracy.n == 30


@pytest.fixture
def folder(model):
    (model.parent / "old.json").write_text("old")
    return model.parent


def test_what_is_finished_goes_to_all_targets(folder, model):
    done = shell(f'cd "{folder}" && lipaudit "{model}" -o old.json -o new.txt', PRESS)
    assert done.returncode == 130
    assert done.stdout.decode() == to_text(SCREENS["interrupted"])
    assert done.stderr == b"wrote old.json\nwrote new.txt\n"
    assert from_json((folder / "old.json").read_text("utf-8")) == SCREENS["interrupted"]
    assert (folder / "new.txt").read_bytes() == done.stdout


def test_on_stdout_it_is_json_alone(model):
    done = shell(f'lipaudit "{model}" -o json=-', PRESS)
    assert done.returncode == 130
    assert json.loads(done.stdout)["exit_code"] == 130
    assert done.stderr.splitlines()[-1] == b"INCOMPLETE (exit 130: interrupted)"


def test_before_anything_is_proved_nothing_is_written(folder, model):
    before = {path.name for path in folder.iterdir()}
    done = shell(f'cd "{folder}" && lipaudit "{model}" -o old.json -o new.txt', "raise KeyboardInterrupt")
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.splitlines()[-1] == b"exit 130: interrupted"
    assert (folder / "old.json").read_text() == "old"
    assert {path.name for path in folder.iterdir()} == before


def test_a_second_one_ends_at_once_and_leaves_no_half(folder, model):
    before = {path.name for path in folder.iterdir()}
    done = shell(f'cd "{folder}" && lipaudit "{model}" -o old.json', AGAIN + PRESS)
    assert (done.returncode, done.stdout) == (130, b"")
    assert done.stderr.splitlines()[-1] == b"exit 130: interrupted"
    assert (folder / "old.json").read_text() == "old"
    assert {path.name for path in folder.iterdir()} == before


CONVERTED = """
import signal
try:
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()
except KeyboardInterrupt:
    raise {} from None
"""
SWALLOWED = """
import signal
class Half(types.ModuleType):
    def __getattr__(self, name):
        try:
            for _ in range(PRESSED):
                os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:
            pass
        return lambda model, **options: print("went on")
"""
SAID = b"error: interrupted: nothing further was written\nexit 130: interrupted\n"


@pytest.mark.parametrize("made", ["ImportError('numpy')", "SystemError('null')", "InputRefused('damaged')"])
def test_what_libraries_make_of_it_is_not_told(model, made):
    body = "from lipaudit.errors import InputRefused" + CONVERTED.format(made)
    done = shell(f'lipaudit "{model}"', body)
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", SAID)


def test_a_beaten_claim_is_graver(model):
    body = "from lipaudit.errors import Falsified" + CONVERTED.format("Falsified('beaten')")
    assert shell(f'lipaudit "{model}"', body).returncode == 70


@pytest.mark.parametrize("times", [1, 2])
def test_what_is_waited_for_or_swallowed_while_libraries_load_is_not_lost(model, times):
    """Once, the library does not even notice; twice, it swallows what it gets."""
    setup = f"PRESSED = {times}\nexec({SWALLOWED!r})\n"
    setup += "sys.modules['lipaudit.pipeline'] = Half('lipaudit.pipeline')"
    program = "import signal, os, sys, types\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
    program += f"{setup}\nfrom lipaudit.cli import main\nsys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", program, model], capture_output=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, b"", SAID)


# Where the interpreter is up, and torch is not: what starts the program is the command itself.
WATCHED = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.stdout.write("up")
sys.stdout.flush()
from lipaudit.cli import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize("delay", [0.03, 0.1, 0.2, 0.4, 0.8])
def test_the_real_command_while_it_loads(tmp_path, delay):
    tiny.write_onnx(tmp_path / "m.onnx")
    command = [sys.executable, "-c", WATCHED, "m.onnx", "-o", "r.json"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        running.stdout.read(2)
        time.sleep(delay)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, b"", SAID)
    assert {path.name for path in tmp_path.iterdir()} == {"m.onnx"}


def test_the_handler_is_given_back(model, run, pipeline):
    assert signal.getsignal(signal.SIGINT) is not interrupts._press
    seen = []
    pipeline.action = lambda: seen.append(signal.getsignal(signal.SIGINT))
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert run(model).code == 0
        assert seen == [interrupts._press]
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        assert run(model).code == 0
        assert seen[1] is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
