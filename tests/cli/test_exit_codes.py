"""Every exit code, with its meaning on the last line; Python's own 1 for a crash never occurs."""

import pytest
import sample_report as sample
import typer

from lipaudit.errors import (
    ConversionMismatch,
    ExitCode,
    Falsified,
    Incomplete,
    InputRefused,
    InputUnavailable,
    NotCovered,
    UnsafeInput,
    UsageError,
)


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
    assert lines[-1] == f"exit {code}: {ExitCode(code).meaning}"
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
