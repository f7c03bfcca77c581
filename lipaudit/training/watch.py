"""What forward passes tell of linear layers: the images they meet, and the batch norms that follow them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Self

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from lipaudit.training.layer import Image, LinearLayer, Norm
from lipaudit.training.readers import Readers

__all__ = ["Watch"]


class Watch:
    """Hooks on layers and batch norms, until `close`.

    A batch norm follows a layer if it takes the very tensor that the layer returned, at every call of both,
    finds the layer's outputs where it looks for channels, on the second axis, and nothing else takes them.
    That is known of passes in which `readers` saw all operations and, without these, of an `nn.Sequential`
    that ran as a whole.  No tensor is kept alive.

    Args:
        layers: whose images are to be seen.
        norms: that may follow them.
        sequences: in which a batch norm comes next after the layer of a name.
        readers: is entered around every pass; without it only those sequences tell who follows whom.
    """

    def __init__(
        self,
        layers: Iterable[LinearLayer],
        norms: Iterable[Norm],
        sequences: Mapping[str, nn.Sequential],
        readers: Readers | None = None,
    ) -> None:
        self._readers = readers
        self.images: dict[str, tuple[Image, ...]] = {}
        self._norms = {id(norm): norm for norm in norms}
        self._made = WeakIdKeyDictionary()
        self._calls: Counter[str] = Counter()
        self._taken: Counter[int] = Counter()
        self._passed: Counter[tuple[str, int]] = Counter()
        self._handles = [
            layer.module.register_forward_hook(self._layer_hook(layer), prepend=True) for layer in layers
        ]
        # Other hooks count as readers: these come first behind a layer, and stand next to the batch norm.
        for norm in self._norms.values():
            self._handles.append(norm.register_forward_pre_hook(self._open))
            self._handles.append(norm.register_forward_hook(self._meet, prepend=True))
        self._runs: Counter[str] = Counter()
        for name, sequence in sequences.items():
            self._handles.append(sequence.register_forward_pre_hook(self._count(name)))

    @property
    def seen(self) -> bool:
        """Whether any layer ran."""
        return bool(self._calls)

    def followers(self) -> dict[str, Norm]:
        """The batch norm behind a layer, by the layer's name; ask while the passes' results are there."""
        return {
            name: self._norms[norm]
            for (name, norm), count in self._passed.items()
            if count == self._calls[name] == self._taken[norm] and self._alone(name, norm, count)
        }

    def close(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        self.close()

    def _layer_hook(self, layer: LinearLayer) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_module: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            self._calls[layer.name] += 1
            if self._readers is not None:
                self._readers.made(layer.name, output)
            if not args:
                return  # called by keyword
            # A dense layer over positions has its outputs on the last axis, a lone image has no batch.
            if output.dim() == 2 + layer.kind.axes:
                self._made[output] = layer.name
            image = tuple(args[0].shape[args[0].dim() - layer.kind.axes :])
            known = self.images.get(layer.name, ())
            self.images[layer.name] = known if image in known else (*known, image)

        return hook

    def _alone(self, name: str, norm: int, calls: int) -> bool:
        """Whether it is known that nothing but a batch norm takes the outputs of a layer."""
        if self._readers is None:
            return self._runs[name] == calls
        return self._readers.sole(name) == norm

    def _count(self, name: str) -> Callable[[nn.Module, object], None]:
        def hook(_module: nn.Module, _args: object) -> None:
            self._runs[name] += 1

        return hook

    def _open(self, norm: nn.Module, _args: tuple[Tensor, ...]) -> None:
        if self._readers is not None:
            self._readers.within = id(norm)

    def _meet(self, norm: nn.Module, args: tuple[Tensor, ...], _output: Tensor) -> None:
        if self._readers is not None:
            self._readers.within = None
        self._taken[id(norm)] += 1
        name = self._made.get(args[0]) if args else None
        if name is not None:
            self._passed[name, id(norm)] += 1
