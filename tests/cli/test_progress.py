"""A bar on a terminal, a heartbeat in a log, silence with -q."""

import io
import time

from rich.console import Console
from rich.progress import TaskID

from lipaudit.cli import progress
from lipaudit.cli.progress import BarMeter, HeartbeatMeter, SilentMeter, meter


def test_the_heartbeat_beats_while_nothing_advances(capfd):
    with HeartbeatMeter(interval=0.01) as beat:
        beat.stage("spectral", 0)
        time.sleep(0.1)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) >= 2
    assert all(line.startswith("… 0:00 ") for line in lines)
    time.sleep(0.05)
    assert capfd.readouterr().err == ""


def test_short_work_is_silent(capfd):
    with meter(quiet=False) as shown:
        shown.stage("spectral", 3)
        shown.advance()
    assert capfd.readouterr().err == ""


def test_a_line_tells_rate_and_rest():
    beat = HeartbeatMeter()
    start = time.monotonic()
    beat.stage("certify", 1000)
    assert beat.line(start + 30) == "… 0:30 certify, 0/1000"
    beat.advance(300)
    line = beat.line(start + 30)
    assert line.startswith("… 0:30 certify, 300/1000, 10")
    assert line.endswith("/s, about 1:10 left")
    beat.advance(700)
    assert "left" not in beat.line(start + 60)
    beat.stage("search", 0)
    beat.advance(3)
    assert beat.line(time.monotonic() + 30).startswith("… 0:30 search, 3 done, 0.")
    beat.stage("attack", 0)
    assert beat.line(start + 90) == "… 1:30 attack"


def test_one_step_tells_nothing_of_the_rest():
    beat, start = HeartbeatMeter(), time.monotonic()
    beat.stage("finding singular values", 5)
    beat.advance()
    assert "left" not in beat.line(start + 30)
    beat.advance()
    assert "left" in beat.line(start + 30)
    column = progress._LeftColumn()
    task = progress.Task(TaskID(0), "", 5, 1, _get_time=time.monotonic)
    assert column.render(task).plain == ""
    task.completed = 2
    assert column.render(task).plain != ""


def test_clock():
    assert [progress.clock(s) for s in (0, 65, 3600, 7325)] == ["0:00", "1:05", "1:00:00", "2:02:05"]


def test_the_bar_shows_stage_count_and_rate():
    out = io.StringIO()
    with BarMeter(Console(file=out, force_terminal=True, width=96)) as bar:
        bar.advance()
        bar.stage("spectral [0]", 0)
        bar.advance()
        bar.stage("certify", 10)
        bar.advance(4)
    text = out.getvalue()
    assert "certify" in text
    assert "4/10" in text


def test_a_stage_without_steps_counts_none():
    out = io.StringIO()
    with BarMeter(Console(file=out, force_terminal=True, width=96)) as bar:
        bar.stage("1/2 model.onnx: loading model", 0)
    assert "loading model" in out.getvalue()
    assert "/?" not in out.getvalue()


def test_the_meter_suits_stderr(monkeypatch):
    assert isinstance(meter(quiet=True), SilentMeter)
    assert isinstance(meter(quiet=False), HeartbeatMeter)

    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setattr("sys.stderr", Terminal())
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(meter(quiet=False), BarMeter)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(meter(quiet=False), HeartbeatMeter)
    monkeypatch.setattr("sys.stderr", None)
    assert isinstance(meter(quiet=False), SilentMeter)


def test_silence_is_silent(capfd):
    with SilentMeter() as silent:
        silent.stage("x", 1)
        silent.advance()
    assert capfd.readouterr().err == ""
