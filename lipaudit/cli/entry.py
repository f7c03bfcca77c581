"""argv in, exit code out: which command is meant, and nothing escapes.

The parser only parses: a command returns what is to be done, and it is done outside of the parser,
which has ideas of its own about exit codes (1 for a closed pipe, for example).
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Sequence
from difflib import get_close_matches

from lipaudit import __version__
from lipaudit.cli import failures, streams
from lipaudit.cli.commands import COMMANDS, FIRST_WORDS, command_in, parse
from lipaudit.cli.help import help_text
from lipaudit.errors import ExitCode, UsageError

__all__ = ["main"]

_HELP = ("-h", "--help", "--help-all")
_VERSION = ("-V", "--version")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Args:
        argv: the arguments without the program's name; None means those of this process.

    Returns:
        One of the documented exit codes, whatever happens.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    streams.make_writable()
    try:
        return int(_run(arguments))
    except BaseException as error:  # noqa: BLE001 -- Python's own code for a crash is 1, "a budget fails"
        return int(failures.show(error, traceback=_is_verbose(arguments)))


def _run(arguments: list[str]) -> ExitCode:
    if not arguments:
        raise UsageError(
            "no model given", hint="lipaudit MODEL [--dataset D]; `lipaudit --help` tells the rest"
        )
    flags = set(arguments[: arguments.index("--")] if "--" in arguments else arguments)
    if flags.intersection(_HELP):
        streams.write_data(help_text(_asked_about(arguments), everything="--help-all" in flags))
        return ExitCode.PASS
    if flags.intersection(_VERSION):
        streams.write_data(f"lipaudit {__version__}\n")
        return ExitCode.PASS
    return parse(with_command(arguments))()


def _asked_about(arguments: list[str]) -> str:
    """The command whose help is wanted; the first word of several names all of them."""
    return command_in(arguments) or (arguments[0] if arguments[0] in FIRST_WORDS else "")


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
