"""Who reads what a layer returns, seen in one forward pass.

A batch norm and the layer before it are one map only if nothing else takes that layer's outputs: where a skip
connection starts between the two, each amplifies by itself.  Every operation of the pass is seen with the
memory that it takes, to read, to write or as a view; what outlives the pass may be read by anyone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["Readers"]


@dataclass(frozen=True, slots=True)
class _Output:
    """What one call of a layer returned.

    Args:
        layer: its name.
        memory: of the output; while it is referred to, nothing else gets its address.
        readers: batch norms that took it, None for anything else.
    """

    layer: str
    memory: StorageWeakRef
    readers: set[int | None] = field(default_factory=set)


class Readers(TorchDispatchMode):
    """Sees all operations of this thread while it is entered.

    Attributes:
        within: the batch norm that runs, as a number of the caller's; None outside of all.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.within: int | None = None
        self._outputs: dict[StorageWeakRef, _Output] = {}

    def made(self, layer: str, output: Tensor) -> None:
        """A layer returned it."""
        self._read(output)
        memory = StorageWeakRef(output.untyped_storage())
        self._outputs[memory] = _Output(layer, memory)

    def sole(self, layer: str) -> int | None:
        """The batch norm that alone took all outputs of a layer, of which nothing is left; else None.

        Call it while the result of the pass is there still: it may hold outputs.
        """
        outputs = [output for output in self._outputs.values() if output.layer == layer]
        readers = set().union(*(output.readers for output in outputs))
        if len(readers) != 1 or not all(output.readers and output.memory.expired() for output in outputs):
            return None
        return readers.pop()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - whatever the operation returns
        """Look at what the operation takes, and do it."""
        kwargs = kwargs or {}
        for one in (*args, *kwargs.values()):
            for part in one if isinstance(one, list | tuple) else (one,):
                if isinstance(part, Tensor):
                    self._read(part)
        return func(*args, **kwargs)

    def _read(self, tensor: Tensor) -> None:
        if tensor.layout == torch.strided:
            output = self._outputs.get(StorageWeakRef(tensor.untyped_storage()))
            if output is not None:
                output.readers.add(self.within)
