"""Which globals of a pickle a user may admit by name (`--allow-global`), and which never.

`torch.load(weights_only=True)` calls an admitted global with arguments from the file: a class is constructed
and its `__setstate__` run, a function is called.  A function admitted is therefore often arbitrary code
(`os.system`, `builtins.eval`, `torch.load`), and so are many classes of the standard library
(`subprocess.Popen` runs programs, `io.FileIO` empties files).  So:

- of the standard library, NumPy and PyTorch, the short lists below and nothing else;
- of other packages, classes (no functions) that are defined where their name says and do not derive from
  the standard library's machinery.  Importing the package runs its code: that is what the user trusts.

Source: PyTorch, `torch/_weights_only_unpickler.py` (REDUCE, NEWOBJ, BUILD) and
`torch.serialization.safe_globals`.
"""

from __future__ import annotations

import importlib
import re
import sys
from typing import Any

from lipaudit.errors import InputRefused, UnsafeInput, UsageError

__all__ = ["check_terms", "is_admissible", "resolve"]

_HARMLESS = frozenset(
    {
        *(
            "argparse.Namespace",
            "types.SimpleNamespace",
            "decimal.Decimal",
            "fractions.Fraction",
            "uuid.UUID",
        ),
        *("collections.Counter", "collections.defaultdict", "collections.deque"),
        *(f"datetime.{kind}" for kind in ("date", "datetime", "time", "timedelta", "timezone")),
        *(f"pathlib.{kind}" for kind in ("Path", "PosixPath", "PurePath", "PurePosixPath")),
        *(f"builtins.{kind}" for kind in ("complex", "dict", "frozenset", "list", "slice", "tuple")),
        *("numpy.dtype", "numpy.ndarray", "numpy.float32", "numpy.float64", "numpy.int64"),
        *(
            f"numpy.{core}.multiarray.{name}"
            for core in ("core", "_core")
            for name in ("scalar", "_reconstruct")
        ),
    }
)
"""They build values and do nothing else; NumPy's two functions are what checkpoints ask for most."""

_OWN_PARTS = ("torch.nn.modules.", "torch.optim.", "torchvision.models.")
"""Parts of PyTorch whose classes may be admitted; other parts read files and run code."""

_CLOSED = frozenset(
    {
        "__builtin__",
        "__main__",
        "copy_reg",
        "numpy",
        "onnx",
        "onnxruntime",
        "torch",
        "torchvision",
        "lipaudit",
    }
    | {"pip", "pkg_resources", "setuptools", "_pytest", "pytest", "safetensors"}
    | sys.stdlib_module_names
)
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_BASES = frozenset({"abc", "builtins", "collections", "enum", "typing"})
"""Standard modules whose classes may be inherited from."""


def check_terms(names: tuple[str, ...], digest: str | None) -> None:
    """Refuse names that are none or can never be admitted, and a digest that is none.

    Args:
        names: of `--allow-global`.
        digest: of `--trust-pickle`.

    Raises:
        UsageError: a flag's value cannot be meant.
    """
    if digest is not None and not _DIGEST.fullmatch(digest):
        raise UsageError(
            f"--trust-pickle {digest[:80]!r} is no digest",
            hint="write sha256: and the file's 64 hexadecimal digits, as sha256sum prints them",
        )
    if digest is not None and names:
        raise UsageError("--trust-pickle runs everything, so --allow-global says nothing: give one of them")
    for name in names:
        if "." not in name or not all(part.isidentifier() for part in name.split(".")):
            raise UsageError(f"--allow-global {name!r} is no name", hint="write it as package.module.Class")
        if not is_admissible(name):
            raise UsageError(
                f"--allow-global {name}: never admitted, because a file that may call it can run anything",
                hint="classes of packages of your own, and a few harmless ones, can be admitted; otherwise "
                "re-save the weights alone",
            )


def is_admissible(name: str) -> bool:
    """May the user admit this global?  Judged from its name."""
    if not all(part.isidentifier() for part in name.split(".")) or "." not in name:
        return False
    return name in _HARMLESS or name.startswith(_OWN_PARTS) or name.partition(".")[0] not in _CLOSED


def resolve(name: str) -> Any:  # noqa: ANN401 - whatever the name stands for
    """Import an admitted global.  Runs its package's code; only in the reading process.

    Raises:
        InputRefused: it cannot be imported.
        UnsafeInput: it is not what its name suggests.
    """
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except Exception as error:  # noqa: BLE001 - the package's own code
        raise InputRefused(
            f"--allow-global {name} cannot be imported: {type(error).__name__}: {str(error)[:200]!a}",
            hint="the package that defines it must be installed beside lipaudit",
        ) from None
    if name in _HARMLESS:
        return found
    if not isinstance(found, type):
        raise UnsafeInput(
            f"--allow-global {name} is a {type(found).__name__}, and only classes are admitted",
            hint="a function that a file may call with arguments of its own can run anything",
        )
    origins = {f"{found.__module__}.{found.__qualname__}"}
    origins |= {f"{c.__module__}.{c.__qualname__}" for c in found.__mro__ if c.__module__ not in _BASES}
    foreign = sorted(origin for origin in origins if not is_admissible(origin))
    if foreign:
        raise UnsafeInput(
            f"--allow-global {name} stands for, or derives from, {foreign[0]}, which is never admitted",
            hint="re-save the weights alone",
        )
    return found
