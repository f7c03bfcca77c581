"""`--arch file.py:factory` or `--arch package.module:factory` → a torch module.

This is the one place where code that comes with a model runs, and only because the user named it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import importlib.util
import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import nn

from lipaudit.errors import InputRefused, InputUnavailable, UsageError
from lipaudit.load.fold import first_line

__all__ = ["build_module", "differing"]

_FORM = "write --arch file.py:factory or --arch package.module:factory"


def build_module(arch: str, seed: int = 0) -> tuple[nn.Module, tuple[str, bytes] | None]:
    """Import the factory, seed the generators of random numbers, and call it.

    Returns:
        The module, and name and bytes of the file if a file was named.

    Raises:
        UsageError: `arch` is malformed, or names nothing callable.
        InputUnavailable: no such file or module.
        InputRefused: the user's code raises, or returns no module.
    """
    place, _, factory = arch.rpartition(":")
    if not place or not factory.isidentifier():
        raise UsageError(f"--arch {arch!r} names no factory", hint=_FORM)
    by_file = place.endswith(".py") or "/" in place or "\\" in place
    source: tuple[str, bytes] | None = None
    # stdout is data: whatever the user's code prints goes to stderr.
    with contextlib.redirect_stdout(sys.stderr), _search_path(Path(place).parent if by_file else Path.cwd()):
        if by_file:
            module, content = _import_file(Path(place))
            source = (Path(place).name, content)
        else:
            module = _import_name(place)
        build = getattr(module, factory, None)
        if not callable(build):
            known = [
                key for key, value in vars(module).items() if callable(value) and not key.startswith("_")
            ]
            raise UsageError(
                f"{place} has no function {factory!r}", hint=f"it has: {', '.join(known[:8]) or 'none'}"
            )
        network = _built(f"{place}:{factory}()", build, seed)
    return network, source


def _built(what: str, build: Callable[[], object], seed: int) -> nn.Module:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's code may draw from it
    network = _guard(what, build)
    if not isinstance(network, nn.Module):
        raise InputRefused(
            f"{what} returned a {type(network).__name__}, not a torch.nn.Module",
            hint="the factory takes no arguments and returns the network",
        )
    return network


def differing(one: nn.Module, other: nn.Module) -> list[str]:
    """Names of tensors that no state dict holds and that differ: nobody stored them, they are arbitrary."""
    a, b = _unstored(one), _unstored(other)
    return sorted(
        name
        for name in a.keys() | b.keys()
        if name not in a
        or name not in b
        or a[name].shape != b[name].shape
        or not torch.equal(torch.nan_to_num(a[name].double()), torch.nan_to_num(b[name].double()))
    )


def _unstored(network: nn.Module) -> dict[str, torch.Tensor]:
    """Tensors a state dict does not hold: plain attributes, buffers that are not persistent."""
    found = {}
    stored = set(network.state_dict())
    for path, module in network.named_modules():
        held = {**vars(module), **dict(module.named_buffers(recurse=False))}
        for name, value in held.items():
            full = f"{path}.{name}" if path else name
            if isinstance(value, torch.Tensor) and full not in stored:
                found[full] = value.detach()
    return found


@contextlib.contextmanager
def _search_path(folder: Path) -> Iterator[None]:
    """Let the architecture import its neighbours."""
    entry = str(folder.resolve())
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        with contextlib.suppress(ValueError):
            sys.path.remove(entry)


def _guard(what: str, call):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - the user's function
    try:
        return call()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
        raise InputRefused(
            f"{what} raised {type(error).__name__}: {first_line(error)}", hint="correct the --arch file"
        ) from None


def _import_file(path: Path) -> tuple[ModuleType, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputUnavailable(f"--arch: {path} cannot be read: {error.strerror}", hint=_FORM) from None
    name = f"_lipaudit_arch_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:12]}"
    module = ModuleType(name)
    module.__file__ = str(path)
    sys.modules[name] = module  # dataclasses look their module up
    _guard(path.name, lambda: exec(compile(content, str(path), "exec"), module.__dict__))  # noqa: S102 - asked for
    return module, content


def _import_name(name: str) -> ModuleType:
    try:
        found = importlib.util.find_spec(name)
    except (ImportError, ValueError, AttributeError):
        found = None
    if found is None:
        raise InputUnavailable(f"--arch: no module named {name!r}", hint=_FORM)
    imported: ModuleType = _guard(name, lambda: importlib.import_module(name))
    return imported
