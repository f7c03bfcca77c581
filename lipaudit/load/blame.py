"""An exception nobody expected: the file's fault, or ours?

What a damaged file does to the libraries that read it cannot be listed, so what *they* raise refuses the
file.  What our own code raises is a defect and must stay one (exit 70), or every such defect would look like
a bad file.  The line between them: the innermost Python frame, or the exception's own class, belongs to one
of the libraries.
"""

from __future__ import annotations

from pathlib import Path
from traceback import walk_tb

from lipaudit.errors import InputRefused, LipauditError

__all__ = ["as_refusal", "first_line", "is_foreign"]

_LIBRARIES = frozenset(
    {"google", "ml_dtypes", "onnx", "onnx2torch", "onnxruntime", "pickle", "safetensors", "torch", "zipfile"}
)
_EXHAUSTED = (MemoryError, RecursionError)
"""Raised in whichever frame happens to be the last; a small file that causes them is the cause."""


def first_line(error: BaseException) -> str:
    """The first line of an exception's message, for one-line refusals."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    line = (lines[0] if lines else type(error).__name__)[:300]
    return "".join(character if character.isprintable() else "?" for character in line)


def is_foreign(error: BaseException) -> bool:
    """Was it raised by a library that handles the file?"""
    names = [type(error).__module__]
    names += [frame.f_globals.get("__name__", "") for frame, _ in walk_tb(error.__traceback__)][-1:]
    return any(name.partition(".")[0] in _LIBRARIES for name in names)


def as_refusal(error: Exception, name: str) -> LipauditError:
    """What to say about an unexpected exception in reading the file called `name`."""
    if isinstance(error, UnicodeDecodeError):
        return InputRefused(
            f"{name} is damaged: a name in it is not text", hint="the download or export failed: repeat it"
        )
    if is_foreign(error) or isinstance(error, _EXHAUSTED):
        return InputRefused(
            f"{name} cannot be loaded: {type(error).__name__}: {first_line(error)}",
            hint="the file may be damaged: export it again; if it is sound, please report it",
        )
    frame, line = list(walk_tb(error.__traceback__))[-1]
    place = f"{Path(frame.f_code.co_filename).name}:{line}"
    return LipauditError(f"{type(error).__name__} at {place} while reading {name}: {first_line(error)}")
