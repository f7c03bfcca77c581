"""Every exit code, with its meaning on the last line; Python's own 1 for a crash never occurs."""

import numpy as np
import pytest
import sample_report as sample
import tiny_models as tiny
import typer
from sample_screens import SCREENS

from lipaudit.errors import (
    ConversionMismatch,
    ExitCode,
    Falsified,
    Incomplete,
    InputRefused,
    InputUnavailable,
    NotCovered,
    Unreached,
    UnsafeInput,
    UsageError,
)
from lipaudit.report import from_json
from lipaudit.report.interruption import Interrupted


class OutOfMemoryError(RuntimeError):
    """Called like torch's."""


class PanicException(BaseException):
    """What a Rust library raises: no subclass of Exception."""


@pytest.mark.parametrize("verdict", sample.CODES)
def test_verdicts(run, pipeline, model, verdict):
    pipeline.report = sample.report(verdict)
    done = run(model)
    assert done.code == sample.CODES[verdict]
    assert done.out.splitlines()[-1] == f"{verdict.upper()} (exit {done.code}: {ExitCode(done.code).meaning})"
    assert done.err == ""


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError("bad"), 2),
        (Unreached("bad"), 1),
        (Incomplete("bad"), 3),
        (InputRefused("bad"), 4),
        (UnsafeInput("bad"), 4),
        (ConversionMismatch("bad"), 4),
        (InputUnavailable("bad"), 5),
        (Falsified("bad"), 70),
        (NotCovered("bad"), 2),
        (ValueError("bad"), 70),
        (AssertionError(), 70),
        (RecursionError("bad"), 70),
        (OSError(5, "bad"), 70),
        (EOFError("bad"), 70),
        (BrokenPipeError(32, "bad"), 70),
        (MemoryError(), 70),
        (OutOfMemoryError("CUDA"), 70),
        (SystemExit(0), 70),
        (SystemExit("bad"), 70),
        (PanicException("bad"), 70),
        (GeneratorExit(), 70),
        (typer.Exit(0), 70),
        (KeyboardInterrupt(), 130),
    ],
)
def test_errors(run, pipeline, model, error, code):
    def fail():
        raise error

    pipeline.action = fail
    done = run(model)
    assert done.code == code
    assert done.out == ""
    lines = done.err.splitlines()
    assert lines[0].startswith("error: ")
    told = "the limit is not reached" if code == 1 else ExitCode(code).meaning
    assert lines[-1] == f"exit {code}: {told}"
    assert "Traceback" not in done.err
    if code == 70 and "memory" not in done.err:
        assert "defect" in done.err


def test_hints_follow_messages(run, pipeline, model):
    def fail():
        raise InputRefused("line one\nline two", hint="do this")

    pipeline.action = fail
    assert run(model).err == "error: line one\n  line two\nhint: do this\nexit 4: input refused\n"


def test_verbose_shows_where_a_defect_is(run, pipeline, model):
    pipeline.action = lambda: 1 / 0
    done = run(model, "-v")
    assert done.code == 70
    assert "Traceback" in done.err
    assert done.err.splitlines()[-1] == "exit 70: internal error"


def test_verbose_shows_no_traceback_of_expected_errors(run, pipeline, model):
    def fail():
        raise InputRefused("bad")

    pipeline.action = fail
    assert "Traceback" not in run(model, "-v").err


def test_an_arch_file_that_exits_is_refused(run, pipeline, model):
    def leave():
        raise SystemExit(0)

    pipeline.action = leave
    done = run(model, "--arch", "net.py:make")
    assert done.code == 4
    assert "net.py:make" in done.err
    assert "__main__" in done.err


def test_messages_cannot_forge_lines(run, pipeline, model):
    def fail():
        raise InputRefused("node \x1b[2Jx\rPASS (exit 0)")

    pipeline.action = fail
    err = run(model).err
    assert "\x1b" not in err
    assert "\r" not in err


def test_an_exception_that_cannot_be_shown(run, pipeline, model):
    class Silent(Exception):
        def __str__(self):
            raise RuntimeError("no")

    def fail():
        raise Silent

    pipeline.action = fail
    done = run(model)
    assert done.code == 70
    assert done.err.endswith("exit 70: internal error\n")


# Every row of the table, and which of several rows counts, by the real pipeline


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A network of constant 1, one without a bound, samples it answers, and samples it does not."""
    folder = tmp_path_factory.mktemp("tiny")
    tiny.write_onnx(folder / "m.onnx")
    tiny.write_onnx(folder / "square.onnx", squared=True)
    tiny.write_samples(folder / "right.npz")
    tiny.write_samples(folder / "wrong.npz", wrong=True)
    tiny.write_samples(folder / "none.npz", count=0)
    tiny.write_samples(folder / "far.npz", labels=[99] * 30)
    (folder / "empty.onnx").write_bytes(b"")
    (folder / "cut.onnx").write_bytes((folder / "m.onnx").read_bytes()[:-20])
    (folder / "text.onnx").write_text("hello, this is no model")
    (folder / "lfs.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")
    (folder / "bad.pt").write_bytes(b"cposix\nsystem\n(S'true'\ntR.")
    weight = tiny.WEIGHT.copy()
    weight[0, 0] = np.nan
    tiny.write_onnx(folder / "nan.onnx", weight)
    np.savez(folder / "large.npz", images=np.zeros((5, 9, 9), np.uint8), labels=np.zeros(5, np.int64))
    return folder


RIGHT, WRONG = "-d npz:right.npz", "-d npz:wrong.npz"
ROWS = [
    ("m.onnx", 0, "PASS"),
    (f"m.onnx {RIGHT} --max-lipschitz 1.5 --min-certified 0.5:1", 0, "PASS"),
    ("m.onnx --max-lipschitz 0.5", 1, "FAIL"),
    (f"m.onnx {RIGHT} --min-certified 100:0.5", 1, "INCONCLUSIVE"),
    ("m.onnx --colour always", 2, ""),
    ("m.onnx --color blue", 2, ""),
    ("m.onnx --max-lipschitz nan", 2, ""),
    ("m.onnx --max-lipschitz inf", 2, ""),
    ("m.onnx --max-lipschitz -1", 2, ""),
    ("m.onnx --min-certified 0.5:0.5", 2, ""),
    ("m.onnx --method nothing=dense", 2, ""),
    ("square.onnx", 3, "INCOMPLETE"),
    (f"m.onnx {WRONG}", 3, "INCOMPLETE"),
    ("m.onnx -d npz:none.npz", 3, ""),
    ("empty.onnx", 4, ""),
    ("cut.onnx", 4, ""),
    ("text.onnx", 4, ""),
    ("lfs.onnx", 4, ""),
    ("nan.onnx", 4, ""),
    ("bad.pt", 4, ""),
    (f"bad.pt --trust-pickle sha256:{'0' * 64} --arch net.py:make", 4, ""),
    ("m.onnx -d npz:large.npz", 4, ""),
    ("m.onnx -d npz:far.npz", 4, ""),
    ("no.onnx", 5, ""),
    ("m.onnx -d npz:no.npz", 5, ""),
    ("m.onnx -d cifar10 --offline --data-dir .", 5, ""),
]
PRECEDENCE = [
    ("usage before a refused model", "empty.onnx --max-lipschitz nan", 2),
    ("usage before a missing model", "no.onnx --max-lipschitz nan", 2),
    ("a refused model before missing data", "empty.onnx -d npz:no.npz", 4),
    (
        "a budget broken by witness before an incomplete analysis",
        f"m.onnx {WRONG} --min-certified 0.5:0.5",
        1,
    ),
    ("an incomplete analysis before an undecided budget", "square.onnx --max-lipschitz 5", 3),
    (
        "a budget broken by witness before an undecided one",
        f"m.onnx {RIGHT} --max-lipschitz 0.5 --min-certified 9:1",
        1,
    ),
    ("an undecided budget before a met one", f"m.onnx {RIGHT} --max-lipschitz 2 --min-certified 9:1", 1),
]


@pytest.mark.parametrize(("line", "code", "verdict"), ROWS, ids=[row[0] for row in ROWS])
def test_rows_of_the_table(run, place, monkeypatch, line, code, verdict):
    monkeypatch.chdir(place)
    before = sorted(path.name for path in place.iterdir())
    done = run(*line.split(), "-q")
    assert done.code == code
    last = (done.out if verdict else done.err).splitlines()[-1]
    if verdict:
        assert last.startswith(verdict)
        assert last.endswith(f" (exit {code}: {ExitCode(code).meaning})")
        assert (": budget " in last) == (code == 1)
    else:
        assert last == f"exit {code}: {ExitCode(code).meaning}"
    assert done.out.count("\n") == bool(verdict)
    assert sorted(path.name for path in place.iterdir()) == before


@pytest.mark.parametrize(
    ("line", "code"), [row[1:] for row in PRECEDENCE], ids=[row[0] for row in PRECEDENCE]
)
def test_which_of_several_counts(run, place, monkeypatch, line, code):
    monkeypatch.chdir(place)
    assert run(*line.split(), "-q").code == code


def test_a_broken_claim_is_a_defect_whatever_the_budgets_say(run, place, monkeypatch):
    def broken(*_):
        raise Falsified("a claim was beaten")

    monkeypatch.chdir(place)
    monkeypatch.setattr("lipaudit.pipeline.falsify", broken)
    done = run("m.onnx", "--max-lipschitz", "0.5", "-o", "r.json")
    assert (done.code, done.out) == (70, "")
    assert not (place / "r.json").exists()


def test_an_unforeseen_exception_is_a_defect(run, place, monkeypatch):
    monkeypatch.chdir(place)
    monkeypatch.setattr("lipaudit.pipeline.compose", lambda *_: 1 / 0)
    assert run("m.onnx").code == 70


def test_a_report_that_cannot_be_written_precedes_a_verdict(run, pipeline, model, tmp_path):
    folder = tmp_path / "goes"
    folder.mkdir()
    for verdict in sample.CODES:
        folder.mkdir(exist_ok=True)
        pipeline.report, pipeline.action = sample.report(verdict), folder.rmdir
        assert run(model, "-q", "-o", folder / "r.json").code == 2


def test_an_interruption_precedes_a_report_that_cannot_be_written(run, pipeline, model, tmp_path):
    folder = tmp_path / "goes"
    folder.mkdir()

    def stop():
        folder.rmdir()
        raise Interrupted(SCREENS["interrupted"])

    pipeline.action = stop
    done = run(model, "-o", folder / "r.json", "-o", tmp_path / "b.json")
    assert done.code == 130
    assert "cannot write" in done.err
    assert from_json((tmp_path / "b.json").read_text()).exit_code == 130
    assert done.out.splitlines()[-1] == "INCOMPLETE (exit 130: interrupted)"
