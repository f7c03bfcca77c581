"""An exception becomes what a person reads on stderr, and an exit code.

error: what, where
hint: what to do next
exit 4: input refused
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass
from traceback import format_exception

import typer

from lipaudit.cli import workflow
from lipaudit.cli.streams import command, say
from lipaudit.errors import ExitCode, LipauditError

__all__ = ["Failure", "describe", "show", "shown"]

_DEFECT = "this is a defect of lipaudit: please report it; -v shows where it happened"
_BUDGETS = ("--max-lipschitz", "--min-certified", "--policy", "--no-policy")
_OUT_OF_MEMORY = "--device cpu or a machine with more memory helps"


@dataclass(frozen=True, slots=True)
class Failure:
    """What is said about an exception."""

    code: ExitCode
    message: str
    hint: str = ""
    meaning: str = ""


def _own(error: BaseException) -> Failure:
    code = getattr(error, "exit_code", ExitCode.INTERNAL)
    hint = getattr(error, "hint", "") or (_DEFECT if code is ExitCode.INTERNAL else "")
    return Failure(code, getattr(error, "message", str(error)), hint, getattr(error, "meaning", ""))


def _interrupted(error: BaseException) -> Failure:
    del error
    return Failure(ExitCode.INTERRUPTED, "interrupted: nothing further was written")


def _parser(error: BaseException) -> Failure:
    message = getattr(error, "format_message", error.__str__)()
    called = getattr(getattr(error, "ctx", None), "command_path", "lipaudit")
    if called == "lipaudit compare" and getattr(error, "option_name", "") in _BUDGETS:
        return Failure(
            ExitCode.USAGE, str(message), "compare judges nothing: `lipaudit MODEL` or `lipaudit gate` do"
        )
    asked = "lipaudit --help-all" if called in ("lipaudit", "lipaudit audit") else f"{called} --help"
    return Failure(ExitCode.USAGE, str(message), f"`{asked}` lists every option")


def _memory(error: BaseException) -> Failure:
    return Failure(ExitCode.INTERNAL, f"out of memory ({type(error).__name__})", _OUT_OF_MEMORY)


def _foreign_exit(error: BaseException) -> Failure:
    code = getattr(error, "code", None)
    return Failure(ExitCode.INTERNAL, f"foreign code tried to end the program (code {code!r})", _DEFECT)


def _unexpected(error: BaseException) -> Failure:
    if type(error).__name__ == "OutOfMemoryError":  # torch's; importing torch to name it takes seconds
        return _memory(error)
    return Failure(ExitCode.INTERNAL, f"{type(error).__name__}: {error}", _DEFECT)


_FAILURES: tuple[tuple[type[BaseException], Callable[[BaseException], Failure]], ...] = (
    (LipauditError, _own),
    (KeyboardInterrupt, _interrupted),
    (typer.Abort, _interrupted),
    # `BadParameter` is public; the base of all parser errors, from which it derives, has moved before.
    (typer.BadParameter.__mro__[2], _parser),
    (MemoryError, _memory),
    (SystemExit, _foreign_exit),
    (BaseException, _unexpected),
)
"""The first row whose class fits explains the exception."""


def describe(error: BaseException) -> Failure:
    """Which exit code an exception ends with, and what to say."""
    return next(explain(error) for kind, explain in _FAILURES if isinstance(error, kind))


def show(error: BaseException, *, traceback: bool) -> ExitCode:
    """Say it on stderr, the exit code last.

    Args:
        error: any exception.
        traceback: whether to show where an internal error happened.

    Returns:
        The code to exit with.
    """
    code = ExitCode.INTERNAL
    meaning = code.meaning
    with contextlib.suppress(Exception):  # a second failure must not change the code
        failure = describe(error)
        code = failure.code
        meaning = failure.meaning or code.meaning
        if traceback and code is ExitCode.INTERNAL:
            say("".join(format_exception(error)).rstrip())
        say(f"error: {shown(failure.message)}")
        if workflow.is_job():
            command(workflow.command_line("error", {"title": f"lipaudit: {meaning}"}, shown(failure.message)))
        if failure.hint:
            say(f"hint: {shown(failure.hint)}")
    say(f"exit {code.value}: {meaning}")
    return code


def shown(text: str) -> str:
    """Paths verbatim, further lines indented; what does not print as its code, so it forges no line."""
    lines = text.strip().splitlines() or ["(no message)"]
    return "\n  ".join("".join(map(_sign, line)) for line in lines)


def _sign(sign: str) -> str:
    # Lone surrogates are the bytes of a path that is no UTF-8: stderr writes them back as they were.
    return sign if sign.isprintable() or "\udc80" <= sign <= "\udcff" else ascii(sign)[1:-1]
