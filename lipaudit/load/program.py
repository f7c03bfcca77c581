"""The calls of a torch.export archive as a module, and their shapes before anything is computed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._pytree import tree_map_only

from lipaudit.errors import InputRefused, LipauditError
from lipaudit.load.admitted import named_arguments
from lipaudit.load.archive import damaged
from lipaudit.load.blame import first_line
from lipaudit.load.labels import Titles
from lipaudit.load.steps import Ref, Step

__all__ = ["LARGEST", "Program", "check_sizes", "refs_of", "results", "run_steps"]

LARGEST = 1 << 28
"""Entries of one value; the largest of a ResNet-152 at 224×224 has 8e5."""
_TOGETHER = 1 << 33
"""Entries of all values."""
_PIECES = 4096
"""Results of one call that returns a list."""

_Values = dict[str, Any]
_Call = Callable[[Step, Any, Any], Any]


class _Site(nn.Module):
    """A module path of the model that was exported: calls made here are named after it."""

    def forward(self, target: Callable[..., Any], args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        """Make the call."""
        return target(*args, **kwargs)


class Program(nn.Module):
    """The calls, made one by one.

    Args:
        steps: in order.
        tensors: constants, by the names that the steps use.
        ends: names of input and output.
        titles: names under which constants are stored, where they differ.
        dtype: of the input.
        inner: shape that the steps take, where it is another: the program has no batch axis.

    Attributes:
        titles: what the file calls the buffers and the modules.
    """

    def __init__(
        self,
        steps: Sequence[Step],
        tensors: Mapping[str, Tensor],
        ends: tuple[str, str],
        titles: Mapping[str, str],
        dtype: torch.dtype,
        inner: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        self._steps, self._ends, self._inner = tuple(steps), ends, inner
        self.register_buffer("_kind", torch.zeros(0, dtype=dtype))  # the first buffer tells the module's type
        # Names of the file would become code: see `labels`.
        self._names = {name: f"stored_{i}" for i, name in enumerate(tensors)}
        for name, place in self._names.items():
            self.register_buffer(place, tensors[name])
        sites = dict.fromkeys(step.path for step in steps if step.path)
        places = {path: f"site_{i}" for i, path in enumerate(sites)}
        for place in places.values():
            self.add_module(place, _Site())
        self._sites = {path: getattr(self, place) for path, place in places.items()}
        stored = {place: titles.get(name, name) for name, place in self._names.items()}
        self.titles: Titles = stored | {place: path for path, place in places.items()}
        self._writes = any(step.in_place for step in steps)

    def forward(self, x: Tensor) -> Any:  # noqa: ANN401 - whatever the program returns
        """The output for one input; the input is left as it is."""
        values: _Values = {name: getattr(self, place) for name, place in self._names.items()}
        x = x if self._inner is None else x.reshape(self._inner)
        values[self._ends[0]] = x.clone() if self._writes else x
        run_steps(self._steps, values, self._call, self._ends[1])
        result = values[self._ends[1]]
        return result if self._inner is None else result.reshape(1, *result.shape)

    def _call(self, step: Step, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        site = self._sites.get(step.path)
        return step.target(*args, **kwargs) if site is None else site(step.target, args, kwargs)


def run_steps(steps: Sequence[Step], values: _Values, call: _Call, output: str) -> None:
    """Fill `values` with what the calls return; what no later call reads is dropped again."""
    reads = [refs_of(step) for step in steps]
    last = {name: i for i, names in enumerate(reads) for name in names}
    for index, step in enumerate(steps):
        args, kwargs = tree_map_only(Ref, lambda ref: values[ref.name], (list(step.args), dict(step.kwargs)))
        result = call(step, args, kwargs)
        values.update(results(step, result))
        for name in reads[index] - {output}:
            if last[name] == index:
                del values[name]


def results(step: Step, result: Any) -> list[tuple[str, Any]]:  # noqa: ANN401
    """Names and values of what a call returns."""
    if step.single:
        return [(step.outputs[0], result)]
    if not isinstance(result, tuple | list):
        raise TypeError("a call returns one value where the file says several")
    return list(zip(step.outputs, result, strict=False))


def refs_of(step: Step) -> set[str]:
    """Names of the values that a call reads."""
    found: set[str] = set()
    tree_map_only(Ref, lambda ref: found.add(ref.name), (list(step.args), dict(step.kwargs)))
    return found


def check_sizes(
    steps: Sequence[Step],
    tensors: Mapping[str, Tensor],
    ends: tuple[str, str],
    x: Tensor,
    stated: Mapping[str, tuple[int | None, ...]],
    name: str,
) -> tuple[int, ...]:
    """Compute the shapes of all values without their numbers.

    Args:
        steps: in order.
        tensors: constants.
        ends: names of input and output.
        x: an input.
        stated: shapes that the file states; None where an axis is open.
        name: for messages.

    Returns:
        The output's shape.

    Raises:
        InputRefused: a call fails, a value is too large or not what the file states, a constant is written.
    """
    total = 0

    def call(step: Step, args: Any, kwargs: Any) -> Any:  # noqa: ANN401
        nonlocal total
        if _pieces(step, args, kwargs) > _PIECES:
            raise InputRefused(f"{name}: {step.target} returns more than {_PIECES} tensors")
        try:
            result = step.target(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - whatever torch raises
            raise InputRefused(
                f"{name} does not run on an input of shape {list(x.shape)}: {step.target}: "
                f"{first_line(error)}",
                hint="check --input-shape; what depends on values (masks, item()) cannot be analysed",
            ) from None
        for output, value in results(step, result):
            if isinstance(value, Tensor):
                total += value.numel()
                _check_value(tuple(value.shape), total, stated.get(output), f"{name}: {output}")
        return result

    with torch.no_grad(), FakeTensorMode() as mode:
        values: _Values = {key: mode.from_tensor(value) for key, value in tensors.items()}
        versions = {key: (value, value._version) for key, value in values.items()}  # noqa: SLF001
        values[ends[0]] = mode.from_tensor(x)
        try:
            run_steps(steps, values, call, ends[1])
            result = values[ends[1]]
        except LipauditError:
            raise
        except (KeyError, TypeError, ValueError, OverflowError, ZeroDivisionError):
            raise damaged(name, "a call takes what no call returns") from None
    written = [key for key, (value, version) in versions.items() if value._version != version]  # noqa: SLF001
    if written:
        raise InputRefused(
            f"{name} changes its own weights or buffers when it runs: {', '.join(written[:4])}",
            hint="a network that remembers cannot be certified; call model.eval() before torch.export.export",
        )
    return tuple(result.shape) if isinstance(result, Tensor) else ()


def _check_value(shape: tuple[int, ...], total: int, stated: Sequence[int | None] | None, what: str) -> None:
    size = 1
    for n in shape:
        size *= n
    if size > LARGEST or total > _TOGETHER:
        raise InputRefused(
            f"{what} would have {size:.3g} entries, all values together {total:.3g}: too many",
            hint="no network of usual size needs this: is the file damaged?",
        )
    if stated is not None and (
        len(stated) != len(shape) or any(a not in (None, b) for a, b in zip(stated, shape, strict=True))
    ):
        shown = ", ".join("?" if n is None else str(n) for n in stated)
        raise damaged(what, f"its shape is {list(shape)}, the file says [{shown}]")


def _pieces(step: Step, args: Any, kwargs: Any) -> int:  # noqa: ANN401
    """How many tensors the call returns, if it returns a list."""
    kind = str(step.target).split(".")[1] if "." in str(step.target) else ""
    if kind not in ("unbind", "split", "chunk"):
        return 0
    named = named_arguments(step.target, args, kwargs)
    source, dim = named.get("self"), named.get("dim", 0)
    if not isinstance(source, Tensor) or not source.dim() or not -source.dim() <= dim < source.dim():
        return 0
    size = named.get("split_size", named.get("chunks", 1))
    if isinstance(size, list):
        return len(size)
    extent = int(source.shape[dim])
    return int(min(extent, size) if kind == "chunk" else -(-extent // max(size, 1)))
