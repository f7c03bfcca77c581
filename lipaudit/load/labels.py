"""Names of modules: ours in the code that torch writes, the file's in what people read.

torch.fx writes Python source and compiles it, and the names of modules and tensors stand in it as they are:
`getattr(self, "onnx/…")`.  A name with a quotation mark, a backslash or a line break ends that text, and what
follows would run.  So no name of a file becomes a module's: modules are called `n0`, `n1`, …, and what the
file calls them is carried beside the program, as `titles`.  The checks here are the second lock.

People ask for layers by name, in budgets and waivers: whatever has a name in the file keeps it, and names
that we make up give way.

Source: PyTorch, `torch/fx/graph.py` (`_format_target`).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from lipaudit.errors import UnsafeInput

__all__ = ["Titles", "check_labels", "check_module", "node_titles", "titled"]

Titles = Mapping[str, str]
"""What the file calls a module or a tensor, by the part of a module path that stands for it."""

_EXPORTED = re.compile(r"^node_")
_OURS = re.compile(r"[A-Za-z0-9_]+", re.ASCII)
_ENDS = frozenset('"\\')
_HINT = "nothing was executed; rename the nodes, parameters or modules to letters, digits and underscores"


def titled(path: str, titles: Titles) -> str:
    """A module path with the file's names in it: `network.onnx/n3` → `network.onnx/conv1`."""
    return ".".join(titles.get(part, part) for part in path.split("."))


def node_titles(nodes: Sequence[tuple[str, str]]) -> list[str]:
    """What people read as the names of ONNX nodes, all different.

    That is the node's own name, without the slashes and the `node_` that exporters put around them if the
    names stay different: all are shortened or none, so that a pattern means all of a kind.  A node without a
    name is called after its operator.

    Args:
        nodes: names, which may be empty, and operators.
    """
    whole = {name for name, _ in nodes}
    short = {name: _EXPORTED.sub("", name.strip("/")) for name in whole}
    named = {name for name in whole if name.strip("/")}
    cut = [short[name] for name in named]
    shown = short if all(cut) and len(set(cut)) == len(cut) else {name: name for name in named}
    kept = whole | {shown[name] for name in named}
    given: set[str] = set()
    numbers: Counter[str] = Counter()
    found: list[str] = []
    for name, operator in nodes:
        own = name in named
        base = title = shown[name] if own else operator
        while title in given or (title in kept and not (own and title == base)):
            numbers[base] += 1
            title = f"{base}_{numbers[base]}"
        given.add(title)
        found.append(title)
    return found


def check_labels(labels: Iterable[str], name: str) -> None:
    """Names that we gave are letters, digits and underscores.

    Args:
        labels: of nodes and values that are about to become code.
        name: of the file, for messages.

    Raises:
        UnsafeInput: one is anything else.
    """
    for label in labels:
        if not _OURS.fullmatch(label):
            raise _unsafe(label, name)


def check_module(module: nn.Module, name: str) -> None:
    """No name of a module, parameter or buffer ends the text in which torch writes it.

    An architecture may call its parts `3x3` or `conv-1`: those stay.

    Args:
        module: about to be exported.
        name: of the file, for messages.

    Raises:
        UnsafeInput: one holds a quotation mark, a backslash, or what cannot be printed.
    """
    for part in module.modules():
        for label in (*part._modules, *part._parameters, *part._buffers):  # noqa: SLF001 - without prefixes
            if not label.isprintable() or _ENDS.intersection(label):
                raise _unsafe(label, name)


def _unsafe(label: str, name: str) -> UnsafeInput:
    return UnsafeInput(f"{name}: the name {label[:80]!a} would become part of Python code", hint=_HINT)
