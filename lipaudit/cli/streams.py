"""stdout is data, stderr is people; a reader that hangs up is no error.

Libraries print to stdout, some of them from C, and one line of theirs would spoil a JSON report.  So
while they work both `sys.stdout` and file descriptor 1 lead to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from lipaudit.cli import workflow
from lipaudit.errors import UsageError

__all__ = [
    "check_colour",
    "colour_wanted",
    "command",
    "libraries_on_stderr",
    "make_writable",
    "say",
    "write_data",
    "write_screen",
]

_STDIN, _STDOUT, _STDERR = 0, 1, 2
_COLOUR = ("auto", "always", "never")


def make_writable() -> None:
    """Let both streams take every path and sign, whatever the locale; and keep their numbers from others."""
    _hold_numbers()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A path that is no UTF-8 goes out as the bytes it came in with; other encodings get codes.
            is_utf8 = stream.encoding.lower().replace("-", "") == "utf8"
            stream.reconfigure(errors="surrogateescape" if is_utf8 else "backslashreplace")


def _hold_numbers() -> None:
    """Give closed standard descriptors to nobody: else the next pipe or file has their number.

    The process that reads files talks to us on two of them, and libraries write to 1 and 2 whatever is there.
    """
    for descriptor in (_STDIN, _STDOUT, _STDERR):
        try:
            os.fstat(descriptor)
        except OSError:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != descriptor:
                os.dup2(nowhere, descriptor)
                os.close(nowhere)
            os.set_inheritable(descriptor, True)


def write_data(text: str) -> None:
    """Write to stdout, unless its reader has gone.

    Raises:
        UsageError: if stdout cannot take it (a full disk, say).
    """
    if sys.stdout is None:  # started with stdout closed
        return
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        _forget(sys.stdout, _STDOUT)
    except OSError as error:
        _forget(sys.stdout, _STDOUT)
        raise UsageError(f"cannot write to stdout: {error.strerror}") from error


def write_screen(text: str) -> None:
    """Write for people to stdout: as `write_data`, but no name in it gives a CI runner orders.

    Raises:
        UsageError: if stdout cannot take it.
    """
    write_data(workflow.defused(text))


def say(line: str) -> None:
    """One line for people, on stderr, unless nobody is there."""
    _to_stderr(workflow.defused(line))


def command(line: str) -> None:
    """One line of `workflow` for the runner of a CI job, on stderr: it is obeyed there."""
    _to_stderr(line)


def _to_stderr(line: str) -> None:
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(line + "\n")
        sys.stderr.flush()
    except OSError:
        _forget(sys.stderr, _STDERR)


def check_colour(when: str) -> None:
    """`--color`.

    Raises:
        UsageError: for anything but its three values.
    """
    if when not in _COLOUR:
        raise UsageError(f"--color {when!r} is unknown", hint=", ".join(_COLOUR))


def colour_wanted(stream: TextIO | None, when: str = "auto") -> bool:
    """Whether ANSI styles belong on this stream.

    Args:
        stream: where they would go.
        when: `always`, `never`, or `auto`: on a terminal that understands them, unless NO_COLOR is set.
    """
    if when != "auto" or stream is None or not stream.isatty():
        return when == "always"
    return not os.environ.get("NO_COLOR") and os.environ.get("TERM", "") not in ("dumb", "")


@contextlib.contextmanager
def libraries_on_stderr(*, verbose: bool) -> Iterator[None]:
    """Keep everybody else off stdout; show their warnings and log records only if asked for."""
    root = logging.getLogger()
    stdout = sys.stdout
    level = root.level
    handler = logging.StreamHandler(sys.stderr) if verbose else logging.NullHandler()
    handler.setFormatter(logging.Formatter("%(levelname)s %(name)s: %(message)s"))
    with warnings.catch_warnings(), contextlib.redirect_stdout(sys.stderr), _descriptor_on_stderr():
        warnings.simplefilter("default" if verbose else "ignore")
        root.addHandler(handler)
        if verbose:
            root.setLevel(logging.INFO)
        try:
            yield
        finally:
            root.removeHandler(handler)
            root.setLevel(level)
            if stdout is not None:  # somebody may have kept it, and written to it
                with contextlib.suppress(OSError, ValueError):
                    stdout.flush()


@contextlib.contextmanager
def _descriptor_on_stderr() -> Iterator[None]:
    try:
        kept = os.dup(_STDOUT)
    except OSError:  # closed: nothing to protect
        yield
        return
    try:
        _lead_away()
        yield
    finally:
        _flush_c()
        os.dup2(kept, _STDOUT)
        os.close(kept)


def _lead_away() -> None:
    """Point file descriptor 1 to where 2 leads, or nowhere if that is closed."""
    try:
        os.dup2(_STDERR, _STDOUT)
    except OSError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, _STDOUT)
        os.close(nowhere)


def _flush_c() -> None:
    """Empty the buffers of C's printf, which would otherwise reach stdout when the program ends."""
    with contextlib.suppress(OSError, AttributeError, TypeError):
        ctypes.CDLL(None).fflush(None)


def _forget(stream: TextIO, descriptor: int) -> None:
    # What is still buffered would fail again when the interpreter exits, with exit code 120.
    with contextlib.suppress(OSError, ValueError):
        if stream.fileno() == descriptor:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, descriptor)
            os.close(nowhere)
