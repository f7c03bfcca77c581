"""What options mean: text from the command line → values, or a usage error that says which flag."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Mapping
from difflib import SequenceMatcher, get_close_matches
from fractions import Fraction
from pathlib import Path

from lipaudit.errors import InputUnavailable, UsageError
from lipaudit.report.exact import read_exact

__all__ = [
    "at_least",
    "device",
    "existing_file",
    "fractions",
    "memory",
    "needs",
    "needs_data",
    "pieces",
    "shape",
    "sides",
]

_DEVICE = re.compile(r"auto|cpu|cuda(:[0-9]{1,3})?")
LARGEST_SIDE = 2**14
"""Of images; `data.sizing`, which needs torch, says the same."""
LEAST_MEMORY = 2**24
"""Bytes; `spectral.select`, which needs torch, says the same."""
_ALIKE = 0.5
"""Of `difflib`, for names without their suffix, which by itself makes `c1.onnx` resemble `nope.onnx`."""
_TRIED = 50
"""Names that are spelt most like the missing one."""
_EXTENT = re.compile(r"[0-9]{1,9}")
_MEMORY = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?)\s*([kmgt]?)(i?)(b?)", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def pieces(texts: Iterable[str]) -> tuple[str, ...]:
    """Repeated and comma-separated values as one list: `-e 1,2 -e 3` → 1, 2, 3; repetitions count once."""
    parts = [part.strip() for text in texts for part in text.split(",")]
    return tuple(dict.fromkeys(parts))


def shape(flag: str, text: str | None) -> tuple[int, ...] | None:
    """`1,28,28` or `1x28x28`.

    Raises:
        UsageError: if an extent is no whole number ≥ 1.
    """
    if text is None:
        return None
    parts = [part.strip() for part in re.split("[,x×]", text)]
    if not all(_EXTENT.fullmatch(part) and int(part) for part in parts):
        raise UsageError(f"{flag} {text!r} is no shape", hint="write one sample's shape, e.g. 1,28,28")
    return tuple(map(int, parts))


def sides(flag: str, text: str | None) -> tuple[int, ...] | None:
    """`224`, or `224,320` or `224x320`: height and width.

    Raises:
        UsageError: if there are not one or two whole numbers from 1 to `LARGEST_SIDE`.
    """
    if text is None:
        return None
    parts = [part.strip() for part in re.split("[,x×]", text)]
    if len(parts) > 2 or not all(_EXTENT.fullmatch(p) and 1 <= int(p) <= LARGEST_SIDE for p in parts):
        raise UsageError(
            f"{flag} {text!r} is no size",
            hint=f"write {flag} 224 or {flag} 224,320 (height, width), at most {LARGEST_SIDE}",
        )
    return tuple(map(int, parts))


def fractions(flag: str, text: str | None, *, nonzero: bool = False) -> tuple[Fraction, ...] | None:
    """`0.4914,0.4822,0.4465`, exact; `1/255` is a number, too.

    Raises:
        UsageError: if one is no number, or is 0 and must not be.
    """
    if text is None:
        return None
    try:
        values = tuple(read_exact(part.strip()) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{flag}: {error}", hint="one number, or one per channel with commas") from error
    if nonzero and 0 in values:
        raise UsageError(f"{flag} {text}: 0 is not possible here")
    return values


def at_least(flag: str, value: int | None, smallest: int) -> None:
    """Refuse what is too small.

    Raises:
        UsageError: if `value` < `smallest`.
    """
    if value is not None and value < smallest:
        raise UsageError(f"{flag} {value}: must be at least {smallest}")


def needs_data(dataset: str, given: Mapping[str, object]) -> None:
    """Refuse options about samples where there are none: they would do nothing, without a word.

    Args:
        dataset: what `--dataset` says.
        given: what each option says; None or empty if it was not given.

    Raises:
        UsageError: naming the first of them.
    """
    told = [flag for flag, value in given.items() if value not in (None, ())]
    if dataset == "none" and told:
        raise UsageError(
            f"{told[0]} is about samples, and there is no data set",
            hint=f"add --dataset mnist or npz:FILE, or leave {told[0]} out",
        )


def needs(flag: str, value: object, other: str, there: object, hint: str) -> None:
    """Refuse an option that does nothing without another one.

    Args:
        flag: the option.
        value: what it says; None if it was not given.
        other: what it needs.
        there: what that says; None if it was not given.
        hint: what the other one is for.

    Raises:
        UsageError: if it is alone.
    """
    if value is not None and there is None:
        raise UsageError(f"{flag} does nothing without {other}", hint=f"{hint}; else leave {flag} out")


def device(text: str) -> str:
    """`auto`, `cpu`, `cuda`, `cuda:1`.

    Raises:
        UsageError: for anything else.
    """
    if not _DEVICE.fullmatch(text):
        raise UsageError(f"--device {text!r} is unknown", hint="auto, cpu, cuda or cuda:N")
    return text


def memory(flag: str, text: str) -> int:
    """`512MiB`, `2G`, `1.5GiB`, `2GB`, or bytes: a number of bytes.

    With `B` alone behind the letter (GB) it counts by 1000, else (GiB, G) by 1024.

    Raises:
        UsageError: if it is no such text, or less than `LEAST_MEMORY`.
    """
    found = _MEMORY.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise UsageError(f"{flag} {text!r} is no amount of memory", hint="write 512MiB or 2GiB")
    base = 1000 if found[4] and not found[3] else 1024
    amount = int(Fraction(found[1]) * base ** _POWERS[found[2].lower()])
    if amount < LEAST_MEMORY:
        raise UsageError(f"{flag} {text}: too little to do anything", hint="at least 16MiB")
    return amount


def existing_file(place: str, kind: str = "the path of an ONNX file, a .pt2 program or a checkpoint") -> None:
    """A path must lead somewhere; the content is judged later.

    Args:
        place: as it was given.
        kind: what to give.

    Raises:
        InputUnavailable: with the name that was probably meant.
    """
    path = Path(place)
    if os.path.lexists(path):
        return
    siblings: list[str] = []
    with contextlib.suppress(OSError):
        siblings = [sibling.name for sibling in path.parent.iterdir()]
    spelt = get_close_matches(path.name, siblings, n=_TRIED)
    close = [name for name in spelt if _alike(Path(name).stem, path.stem)]
    hint = f"did you mean {path.with_name(close[0])}?" if close else f"give {kind}"
    raise InputUnavailable(f"no such file: {place}", hint=hint)


def _alike(one: str, other: str) -> bool:
    return SequenceMatcher(None, one.lower(), other.lower()).ratio() >= _ALIKE
