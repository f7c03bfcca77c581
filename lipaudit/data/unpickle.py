"""The pickles of CIFAR's Python version, read without running anything.

Such a file is a dictionary of lists, numbers, strings and one NumPy array of bytes, written by Python 2 with
protocol 2.  `pickletools` of the standard library splits it into its operations; the few that those files
(and copies written again by Python 3) need are carried out here.  No class is ever looked up and no function
called: an array is put together from its stored parts.  Everything else is refused, unknown names above all.

Python Software Foundation, Lib/pickletools.py, documents the operations.
"""

from __future__ import annotations

import pickletools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lipaudit.errors import InputRefused, UnsafeInput

__all__ = ["read_pickle"]

_MOST_OPERATIONS = 2_000_000  # CIFAR-100's training file has some 250,000
_BROKEN = (ValueError, IndexError, KeyError, TypeError, AttributeError, OverflowError, MemoryError)
"""What taking a value of the wrong kind raises, here and in `pickletools`."""
_DAMAGED = "the file is damaged or not what its name says; fetch it again"


@dataclass(frozen=True, slots=True)
class _Name:
    """A name that the pickle mentions; it stays a name."""

    full: str


@dataclass(slots=True, eq=False)
class _Bytes:
    """An array, before and after its content arrived."""

    array: NDArray[np.uint8] | None = None


_ARRAY, _DTYPE = _Name("numpy.ndarray"), _Name("numpy.dtype")
_UNSIGNED_BYTE = _Name("uint8")
_RECONSTRUCT = (_Name("numpy.core.multiarray._reconstruct"), _Name("numpy._core.multiarray._reconstruct"))
_ENCODE = _Name("_codecs.encode")  # how Python 3 writes bytes in protocol 2
_ADMITTED = (_ARRAY, _DTYPE, _ENCODE, *_RECONSTRUCT)


def read_pickle(content: bytes, path: Path) -> dict[str, object]:
    """The dictionary in a CIFAR pickle; arrays come as uint8.

    Args:
        content: the file's bytes.
        path: its name, for messages.

    Raises:
        UnsafeInput: it mentions anything but NumPy's arrays.
        InputRefused: it is no such pickle, or is damaged.
    """
    machine = _Machine(path)
    try:
        return _run(machine, content)
    except _BROKEN as error:
        raise machine.refusal(f"is no complete pickle ({str(error)[:80] or type(error).__name__})") from error


def _run(machine: _Machine, content: bytes) -> dict[str, object]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pickletools undoes escapes in damaged names, and warns of them
        for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
            step = _STEPS.get(operation.name)
            if step is None or count > _MOST_OPERATIONS:
                raise machine.refusal(f"uses {operation.name}, which no CIFAR file needs")
            step(machine, argument)
    return machine.result()


class _Machine:
    """The stack, its marks and the memo."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.stack: list[Any] = []
        self.marks: list[int] = []
        self.memo: dict[int, Any] = {}

    def refusal(self, what: str) -> InputRefused:
        return InputRefused(f"{self.path} {what}", hint=_DAMAGED)

    def result(self) -> dict[str, object]:
        (value,) = self.stack
        if not isinstance(value, dict):
            raise self.refusal("holds no dictionary")
        return value

    def push(self, value: object) -> None:
        self.stack.append(value)

    def above_mark(self) -> list[Any]:
        start = self.marks.pop()
        values = self.stack[start:]
        del self.stack[start:]
        return values

    def take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise self.refusal("takes values that are not there")
        values = self.stack[-count:]
        del self.stack[-count:]
        return values

    def name(self, full: str) -> None:
        """Names are told apart here, and never resolved."""
        if (name := _Name(full)) not in _ADMITTED:
            raise UnsafeInput(
                f"{self.path} wants to load {full[:100]!r}; a CIFAR file holds numbers and NumPy arrays only",
                hint="nothing was run; fetch the file again from its publisher",
            )
        self.push(name)

    def put_items(self, pairs: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, dict) or len(pairs) % 2:
            raise self.refusal("fills a dictionary that is none")
        for key, value in zip(pairs[::2], pairs[1::2], strict=True):
            text = key.decode("latin-1") if isinstance(key, bytes) else key
            # Hashing a tuple of tuples can take for ever; keys are words.
            if not isinstance(text, str):
                raise self.refusal("has keys that are no words")
            target[text] = value

    def append(self, values: list[Any]) -> None:
        target = self.stack[-1]
        if not isinstance(target, list):
            raise self.refusal("extends a list that is none")
        target.extend(values)

    def reduce(self) -> None:
        """The four calls such files consist of, by what they would return."""
        called, given = self.take(2)
        if called in _RECONSTRUCT and given[0] == _ARRAY:
            self.push(_Bytes())
        elif called == _DTYPE and _text(given[0]) in ("u1", "|u1"):
            self.push(_UNSIGNED_BYTE)
        elif called == _ENCODE and given[1] == "latin1":
            self.push(given[0].encode("latin-1"))
        else:
            raise self.refusal("builds something that is no array of bytes")

    def build(self) -> None:
        """Content of an array, or the details of its type (which an unsigned byte has none of)."""
        state = self.take(1)[0]
        target = self.stack[-1]
        if target is _UNSIGNED_BYTE:
            return
        if not isinstance(target, _Bytes) or not isinstance(state, tuple) or len(state) != 5:
            raise self.refusal("fills something that is no array")
        _, shape, dtype, columns_first, raw = state
        content = raw.encode("latin-1") if isinstance(raw, str) else bytes(memoryview(raw))
        if dtype is not _UNSIGNED_BYTE or not all(type(n) is int and n >= 0 for n in shape):
            raise self.refusal("holds an array of something else than bytes")
        array = np.frombuffer(content, np.uint8)
        target.array = array.reshape(shape, order="F" if columns_first else "C")


def _text(value: object) -> str:
    """A word; anything else is none (its repr could be endless)."""
    text = value.decode("latin-1") if isinstance(value, bytes) else value
    return text if isinstance(text, str) else ""


def _stack_global(machine: _Machine, _: object) -> None:
    module, name = machine.take(2)
    machine.name(f"{_text(module)}.{_text(name)}")


def _memoize(machine: _Machine, _: object) -> None:
    machine.memo[len(machine.memo)] = machine.stack[-1]


def _put(machine: _Machine, place: int) -> None:
    machine.memo[place] = machine.stack[-1]


def _tuple_of(count: int) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(tuple(machine.take(count)))


def _value(machine: _Machine, value: object) -> None:
    machine.push(value)


def _constant(value: object) -> Callable[[_Machine, Any], None]:
    return lambda machine, _: machine.push(value)


def _nothing(machine: _Machine, _: object) -> None:
    """Framing, which `pickletools` has dealt with."""


_STEPS: dict[str, Callable[[_Machine, Any], None]] = {
    **dict.fromkeys(("PROTO", "FRAME", "STOP"), _nothing),
    **dict.fromkeys(("BININT", "BININT1", "BININT2", "LONG1"), _value),
    **dict.fromkeys(("BINSTRING", "SHORT_BINSTRING", "BINUNICODE", "SHORT_BINUNICODE"), _value),
    **dict.fromkeys(("BINBYTES", "SHORT_BINBYTES"), _value),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), _put),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda machine, place: machine.push(machine.memo[place])),
    "MEMOIZE": _memoize,
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "MARK": lambda machine, _: machine.marks.append(len(machine.stack)),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.push(tuple(machine.above_mark())),
    "TUPLE1": _tuple_of(1),
    "TUPLE2": _tuple_of(2),
    "TUPLE3": _tuple_of(3),
    "SETITEM": lambda machine, _: machine.put_items(machine.take(2)),
    "SETITEMS": lambda machine, _: machine.put_items(machine.above_mark()),
    "APPEND": lambda machine, _: machine.append(machine.take(1)),
    "APPENDS": lambda machine, _: machine.append(machine.above_mark()),
    "GLOBAL": lambda machine, words: machine.name(words.replace(" ", ".", 1)),
    "STACK_GLOBAL": _stack_global,
    "REDUCE": lambda machine, _: machine.reduce(),
    "BUILD": lambda machine, _: machine.build(),
}
