"""What forward passes tell of linear layers: the images they meet, and the batch norms that follow them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Self

from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from lipaudit.training.layer import Image, LinearLayer, Norm

__all__ = ["Watch"]


class Watch:
    """Hooks on layers and batch norms, until `close`.

    A batch norm follows a layer if it takes the very tensor that the layer returned, at every call of both,
    and finds the layer's outputs where it looks for channels, on the second axis.  No tensor is kept alive.

    Args:
        layers: whose images are to be seen.
        norms: that may follow them.
    """

    def __init__(self, layers: Iterable[LinearLayer], norms: Iterable[Norm]) -> None:
        self.images: dict[str, tuple[Image, ...]] = {}
        self._norms = {id(norm): norm for norm in norms}
        self._made = WeakIdKeyDictionary()
        self._calls: Counter[str] = Counter()
        self._taken: Counter[int] = Counter()
        self._passed: Counter[tuple[str, int]] = Counter()
        self._handles = [layer.module.register_forward_hook(self._layer_hook(layer)) for layer in layers]
        self._handles += [norm.register_forward_hook(self._meet) for norm in self._norms.values()]

    @property
    def seen(self) -> bool:
        """Whether any layer ran."""
        return bool(self._calls)

    def followers(self) -> dict[str, Norm]:
        """The batch norm behind a layer, by the layer's name."""
        return {
            name: self._norms[norm]
            for (name, norm), count in self._passed.items()
            if count == self._calls[name] == self._taken[norm]
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
            if not args:
                return  # called by keyword
            # A dense layer over positions has its outputs on the last axis, a lone image has no batch.
            if output.dim() == 2 + layer.kind.axes:
                self._made[output] = layer.name
            image = tuple(args[0].shape[args[0].dim() - layer.kind.axes :])
            known = self.images.get(layer.name, ())
            self.images[layer.name] = known if image in known else (*known, image)

        return hook

    def _meet(self, norm: nn.Module, args: tuple[Tensor, ...], _output: Tensor) -> None:
        self._taken[id(norm)] += 1
        name = self._made.get(args[0]) if args else None
        if name is not None:
            self._passed[name, id(norm)] += 1
