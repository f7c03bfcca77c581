"""`--arch file.py:factory` or `--arch package.module:factory{"width": 64}` → a torch module.

What stands in braces is JSON: the factory's keyword arguments.  This is the one place where code that comes
with a model runs, and only because the user named it.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import importlib
import importlib.util
import inspect
import json
import random
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn

from lipaudit.errors import InputRefused, InputUnavailable, UsageError
from lipaudit.load.blame import first_line
from lipaudit.load.factory import FORM, parse_arch

__all__ = ["Built", "build_module", "differing"]


@dataclass(frozen=True, slots=True, eq=False)
class Built:
    """What a factory made.

    Args:
        module: its module.
        source: name and bytes of its file, if a file was named.
        label: the factory and its arguments as a report states them.
        hint: what to say where the module's sizes are not those of the weights.
    """

    module: nn.Module
    source: tuple[str, bytes] | None
    label: str
    hint: str


def build_module(arch: str, seed: int = 0) -> Built:
    """Import the factory, seed the generators of random numbers, and call it.

    Raises:
        UsageError: `arch` is malformed, or names nothing that can be called with these arguments.
        InputUnavailable: no such file or module.
        InputRefused: the user's code raises, or returns no module.
    """
    asked = parse_arch(arch)
    place, factory, arguments, by_file = asked.place, asked.name, asked.arguments, asked.by_file
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
        _check_call(place, factory, build, arguments)
        what = f"{place}:{factory}({', '.join(f'{key}={value!r}' for key, value in arguments.items())})"
        blamed = "correct the --arch file, or the arguments" if arguments else "correct the --arch file"
        network = _built(what, lambda: build(**copy.deepcopy(arguments)), seed, blamed)
    label = f"{Path(place).name if by_file else place}:{factory}"
    if arguments:
        label += json.dumps(arguments, sort_keys=True, ensure_ascii=False)
    return Built(network, source, label, _sizes_hint(place, factory, build))


def _check_call(place: str, factory: str, build: Callable[..., object], arguments: dict[str, Any]) -> None:
    """Do the arguments fit?  Told before anything is built."""
    try:
        signature = inspect.signature(build)
    except (TypeError, ValueError):
        return  # a builtin without a signature: the call itself will tell
    try:
        signature.bind(**arguments)
    except TypeError as error:
        raise UsageError(
            f"--arch: {place}:{factory}{signature} cannot be called so: {error}",
            hint=f"""arguments are given as JSON: --arch '{place}:{factory}{{"name": value}}'""",
        ) from None


def _sizes_hint(place: str, factory: str, build: Callable[..., object]) -> str:
    """What to do where the layers are right and their sizes are not."""
    try:
        taken = list(inspect.signature(build).parameters)
    except (TypeError, ValueError):
        return ""
    if not taken:
        return (
            f"the layers fit, their sizes do not: let {factory} take the width as an argument, or change it"
        )
    return (
        f"the layers fit, their sizes do not: {factory} takes {', '.join(taken[:6])}; say which as JSON: "
        f"""--arch '{place}:{factory}{{"name": value}}'"""
    )


def _built(what: str, build: Callable[[], object], seed: int, blamed: str) -> nn.Module:
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 - the user's code may draw from it
    network = _guard(what, build, blamed)
    if not isinstance(network, nn.Module):
        raise InputRefused(
            f"{what} returned a {type(network).__name__}, not a torch.nn.Module",
            hint="the factory returns the network",
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


def _guard(what: str, call, hint: str = "correct the --arch file"):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - the user's function
    try:
        return call()
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the user's code may raise anything
        raise InputRefused(f"{what} raised {type(error).__name__}: {first_line(error)}", hint=hint) from None


def _import_file(path: Path) -> tuple[ModuleType, bytes]:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputUnavailable(f"--arch: {path} cannot be read: {error.strerror}", hint=FORM) from None
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
        raise InputUnavailable(f"--arch: no module named {name!r}", hint=FORM)
    imported: ModuleType = _guard(name, lambda: importlib.import_module(name))
    return imported
