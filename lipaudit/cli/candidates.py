"""Models to compare, and who builds them: `A.onnx NAME=b.safetensors --arch NAME=net.py:make`.

A model is called by the end of its path, as short as it can be told from the others, with the folder where
the file's own name says nothing; given twice, it gets a number.  `{dir}` in an architecture is the folder of
the model it is for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lipaudit.errors import UsageError
from lipaudit.load.factory import parse_arch

__all__ = ["Asked", "asked_models"]

_NAMED = re.compile(r"([^/\\=]+)=(.+)", re.DOTALL)
_OWNED = re.compile(r"([^:{=]+)=(.+:.+)", re.DOTALL)

_SILENT = ("model", "weights", "checkpoint", "best", "last", "final", "network", "net", "state_dict")
"""File names that many folders have."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One model as it was asked for."""

    name: str
    path: str
    arch: str | None
    trained: str | None = None


def asked_models(
    texts: Sequence[str], arches: Sequence[str], trained: Sequence[str] = ()
) -> tuple[Asked, ...]:
    """Paths with names that are all different, and each with its architectures.

    Args:
        texts: `PATH` or `NAME=PATH`; what exists as it stands is a path.
        arches: of `--arch`: one for all, as many as there are models, or `NAME=SOURCE:NAME`.
        trained: of `--train-arch`, likewise.

    Raises:
        UsageError: two models have one name; an architecture belongs to none, or may belong to two; a model
            is given two.
    """
    given = [_split(text) for text in texts]
    own = [name for name, _ in given if name]
    if len(set(own)) < len(own):
        twice = next(name for name in own if own.count(name) > 1)
        raise UsageError(f"two models are called {twice!r}", hint="NAME=PATH gives each a name of its own")
    names = _names(given)
    paths = [path for _, path in given]
    built = _architectures(names, paths, arches, "--arch")
    training = _architectures(names, paths, trained, "--train-arch")
    return tuple(map(Asked, names, paths, built, training))


def _split(text: str) -> tuple[str, str]:
    found = None if os.path.lexists(text) else _NAMED.fullmatch(text)
    return (found[1], found[2]) if found else ("", text)


def _names(given: Sequence[tuple[str, str]]) -> list[str]:
    """The name that was given, else the last parts of the path: as many as tell it from the other paths."""
    taken = {name for name, _ in given if name}
    paths = {Path(path).parts or (path,) for name, path in given if not name}
    names = []
    for name, path in given:
        parts = Path(path).parts or (path,)
        names.append(name or _free(_end(parts, paths - {parts}), taken))
        taken.add(names[-1])
    return names


def _end(path: tuple[str, ...], others: set[tuple[str, ...]]) -> str:
    """The shortest end of a path that no other path has and that says something."""
    least = 2 if Path(path[-1]).stem.lower() in _SILENT else 1
    depth = next((d for d in range(least, len(path)) if all(o[-d:] != path[-d:] for o in others)), len(path))
    return str(Path(*path[-depth:]))


def _free(name: str, taken: set[str]) -> str:
    number, free = 1, name
    while free in taken:
        number += 1
        free = f"{name} ({number})"
    return free


def _architectures(
    names: Sequence[str], paths: Sequence[str], arches: Sequence[str], option: str
) -> list[str | None]:
    """Whose each is."""
    owned: dict[int, str] = {}
    plain: list[str] = []
    for text in arches:
        found = _OWNED.fullmatch(text)
        if found is None:
            parse_arch(_beside(text, "."))
            plain.append(text)
            continue
        parse_arch(_beside(found[2], "."))
        for index in _meant(f"{option} {text}", found[1], names, paths):
            if index in owned:
                raise UsageError(
                    f"{option} {text}: {names[index]!r} has an architecture already, {owned[index]}",
                    hint="give each model one",
                )
            owned[index] = found[2]
    if len(plain) not in (0, 1, len(names)):
        raise UsageError(
            f"{len(plain)} architectures for {len(names)} models",
            hint=f"give {option} once for all, once per model in their order, or as NAME=SOURCE:NAME",
        )
    none: list[str | None] = [None] * len(names)
    common = plain * len(names) if len(plain) == 1 else plain or none
    chosen = [owned.get(index, each) for index, each in enumerate(common)]
    return [
        None if a is None else _beside(a, str(Path(p).parent)) for a, p in zip(chosen, paths, strict=True)
    ]


def _meant(what: str, key: str, names: Sequence[str], paths: Sequence[str]) -> list[int]:
    """Which models have that name or path: one, or several of one path."""
    found = [index for index, both in enumerate(zip(names, paths, strict=True)) if key in both]
    if not found:
        raise UsageError(f"{what}: no model is called {key!r}", hint=f"the models are {', '.join(names)}")
    if len({paths[index] for index in found}) > 1:
        raise UsageError(
            f"{what}: {key!r} is the name of one model and the path of another",
            hint="NAME=PATH gives each model a name of its own",
        )
    return found


def _beside(arch: str, folder: str) -> str:
    return arch.replace("{dir}", folder)
