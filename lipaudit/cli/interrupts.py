"""Ctrl-C is remembered, since it may come out of a library as anything.

Extension modules that are interrupted while they load raise ImportError or SystemError in its place, end the
process, or swallow it.  So while they load it waits for them, which takes seconds; whoever presses again does
not wait.  Whoever pressed Ctrl-C is told of that and of nothing else.

Nothing is imported here that takes time: the very first imports are watched, too.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["INTERRUPTED", "loading", "watched"]

INTERRUPTED = "error: interrupted: nothing further was written\nexit 130: interrupted\n"
"""What is said where not even the module that says so is loaded."""

_pressed, _loading = threading.Event(), threading.Event()


@contextmanager
def watched() -> Iterator[Callable[[], bool]]:
    """Ctrl-C raises KeyboardInterrupt, as ever, and the value tells from then on that it did.

    A handler of somebody else's stays, and so does that of another thread than the main one.
    """
    _pressed.clear()
    ours = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if ours:
        signal.signal(signal.SIGINT, _press)
    try:
        yield _pressed.is_set
    finally:
        if ours:
            signal.signal(signal.SIGINT, signal.default_int_handler)


@contextmanager
def loading() -> Iterator[None]:
    """Libraries are loaded here: Ctrl-C counts when they are.

    Raises:
        KeyboardInterrupt: if it was pressed.
    """
    _loading.set()
    try:
        yield
    finally:
        _loading.clear()
        if _pressed.is_set():
            raise KeyboardInterrupt


def _press(number: int, frame: object) -> None:
    del number, frame
    again = _pressed.is_set()
    _pressed.set()
    if again or not _loading.is_set():
        raise KeyboardInterrupt
