"""argv in, exit code out: which command is meant, and nothing escapes.

The parser only parses: a command returns what is to be done, and it is done outside of the parser,
which has ideas of its own about exit codes (1 for a closed pipe, for example).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Sequence
from difflib import get_close_matches

from lipaudit import __version__
from lipaudit.cli import failures, streams
from lipaudit.cli.commands import COMMANDS, FIRST_WORDS, command_in, parse
from lipaudit.cli.help import help_text
from lipaudit.errors import ExitCode, Falsified, UsageError

__all__ = ["main"]

_HELP = ("-h", "--help", "--help-all")
_VERSION = ("-V", "--version")


def main(argv: Sequence[str] | None = None, pressed: Callable[[], bool] = lambda: False) -> int:
    """Run one command line.

    Args:
        argv: the arguments without the program's name; None means those of this process.
        pressed: whether Ctrl-C was.

    Returns:
        One of the documented exit codes, whatever happens.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    streams.make_writable()
    try:
        return int(_run(arguments))
    except BaseException as error:  # noqa: BLE001 -- Python's own code for a crash is 1, "a budget fails"
        return int(failures.show(_cause(error, pressed()), traceback=_is_verbose(arguments)))


def _cause(error: BaseException, pressed: bool) -> BaseException:  # noqa: FBT001 -- a fact
    """What ended the program: after Ctrl-C that, unless a claim was beaten, which is graver."""
    return KeyboardInterrupt() if pressed and not isinstance(error, Falsified) else error


def _run(arguments: list[str]) -> ExitCode:
    if not arguments:
        raise UsageError(
            "no model given", hint="lipaudit MODEL [--dataset D]; `lipaudit --help` tells the rest"
        )
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    asked = next((word for word in options if word in (*_HELP, *_VERSION)), None)
    if asked is not None:
        streams.write_data(_told(arguments, asked))
        return ExitCode.PASS
    return parse(with_command(arguments))()


def _told(arguments: list[str], asked: str) -> str:
    """Help or version: asked for alone, behind a command's name, or (help) behind a model's.

    Anywhere else it would turn an audit, or a gate, into a green step that did nothing.

    Raises:
        UsageError: there is more on the command line.
    """
    *before, last = arguments
    command = " ".join(before)
    known = command in COMMANDS or command in ("", *FIRST_WORDS)
    model = asked in _HELP and len(before) == 1 and not command.startswith("-")
    if last != asked or not (known or model):
        name = command_in(arguments)
        raise UsageError(
            f"{asked} stands alone or behind a command's name: nothing was done",
            hint=f"lipaudit {f'{name} ' if name else ''}{asked}; a file of that name is ./{asked}",
        )
    if asked in _VERSION:
        return f"lipaudit {__version__}\n"
    return help_text(command if known else "", everything=asked == "--help-all")


def with_command(arguments: list[str]) -> list[str]:
    """The arguments with the default command spelt out: a first word that is no command is a model.

    Raises:
        UsageError: if that word looks like a mistyped command and no such file exists.
    """
    first = arguments[0]
    if first in FIRST_WORDS:
        _check_second(arguments)
        return arguments
    if first.isidentifier() and not os.path.lexists(first):  # a word, as commands are; a path is a model
        if first == "help":
            name = command_in(arguments[1:])
            call = f"`lipaudit {name} --help`" if name else "`lipaudit --help`"
            hint = f"{call} tells more; `lipaudit explain WORD` tells what a word means"
            raise UsageError("'help' is neither a command nor a file", hint=hint)
        close = get_close_matches(first.lower(), FIRST_WORDS, n=1)
        if close:
            raise UsageError(
                f"{first!r} is neither a command nor a file",
                hint=f"did you mean `lipaudit {close[0]}`? A model of that name would be ./{first}",
            )
    return ["audit", *arguments]


def _check_second(arguments: list[str]) -> None:
    """A command of two words needs its second one."""
    first, second = arguments[0], next(iter(arguments[1:2]), "")
    known = [name for name in COMMANDS if name.split()[0] == first]
    if first not in known and command_in(arguments) not in known:
        close = get_close_matches(f"{first} {second}", known, n=1) if second else []
        raise UsageError(
            f"`lipaudit {first}` needs another word" if not second else f"no command `{first} {second}`",
            hint=f"did you mean `lipaudit {close[0]}`?"
            if close
            else " or ".join(f"`lipaudit {n}`" for n in known),
        )


def _is_verbose(arguments: list[str]) -> bool:
    return "--verbose" in arguments or any(re.fullmatch("-q*v[qv]*", word) for word in arguments)
