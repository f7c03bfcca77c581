"""`--arch file.py:factory{"width": 64}` taken apart: where the factory is, its name, its arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from lipaudit.errors import InputRefused, UsageError
from lipaudit.load.blame import first_line

__all__ = ["FORM", "Factory", "ended", "exits_refused", "parse_arch"]

FORM = "write --arch file.py:factory, package.module:factory or 'file.py:factory{\"width\": 64}'"
_ARCH = re.compile(r"(?P<place>.+?):(?P<factory>[^\W\d]\w*)(?P<arguments>\{.*)?", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Factory:
    """A function that makes a network.

    Attributes:
        place: a file, or a module's dotted name.
        name: of the function.
        arguments: keyword arguments.
    """

    place: str
    name: str
    arguments: dict[str, Any]

    @property
    def by_file(self) -> bool:
        """Whether `place` is a file."""
        return self.place.endswith(".py") or "/" in self.place or "\\" in self.place


def parse_arch(arch: str) -> Factory:
    """What `--arch` names.

    Raises:
        UsageError: it is malformed.
    """
    found = _ARCH.fullmatch(arch)
    if found is None:
        raise UsageError(f"--arch {arch!r} names no factory", hint=FORM)
    place, factory, text = found["place"], found["factory"], found["arguments"]
    return Factory(place, factory, {} if text is None else _arguments(text, factory, len(arch) - len(text)))


@contextmanager
def exits_refused(arch: str | None) -> Iterator[None]:
    """Code of `--arch` runs here: where it ends the program, that is the file's fault.

    Raises:
        InputRefused: it did.
    """
    try:
        yield
    except SystemExit as error:
        if arch is None:
            raise
        raise ended(arch, error) from error


def ended(arch: str | None, error: SystemExit) -> InputRefused:
    """What is said of a file that ended the program."""
    return InputRefused(
        f"--arch {arch}: the file ended the program (exit code {error.code!r})",
        hint="it should only define the network; put scripts under `if __name__ == '__main__':`",
    )


def _arguments(text: str, factory: str, start: int) -> dict[str, Any]:
    """The JSON object behind the factory's name; `start` is where it begins in what was typed."""
    hint = f"""write JSON, e.g. --arch 'file.py:{factory}{{"width": 64, "bias": true}}'"""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        keys = [key for key, _ in pairs]
        twice = next((key for key in keys if keys.count(key) > 1), None)
        if twice is not None:
            raise UsageError(f"--arch: argument {twice!r} of {factory} is given twice", hint=hint)
        return dict(pairs)

    def refuse(constant: str) -> Any:  # noqa: ANN401
        raise UsageError(f"--arch: {constant} among the arguments of {factory} is no JSON", hint=hint)

    try:
        found: dict[str, Any] = json.loads(text, object_pairs_hook=once, parse_constant=refuse)
    except json.JSONDecodeError as error:
        raise UsageError(
            f"--arch: the arguments of {factory} are no JSON: {error.msg} at character "
            f"{start + error.pos + 1} of what was given, before {text[error.pos : error.pos + 12]!r}",
            hint=hint,
        ) from None
    except (ValueError, RecursionError) as error:
        raise UsageError(f"--arch: the arguments of {factory}: {first_line(error)}", hint=hint) from None
    return found
