"""Ctrl-C on a process: the finished part is written whole, and a second Ctrl-C ends at once."""

import json
import subprocess
import sys

import pytest
import tiny_models as tiny
from sample_screens import SCREENS
from stand_in import shell

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
