"""What is measured: the convolutions of published networks, and the kernels put into them.

Shapes are read off torchvision's own models (on the `meta` device: nothing is computed), each distinct one
with the number of times it occurs.  Kernels are

- `he`: Gaussian with variance 2/(c_in·k²), as networks are initialised;
- `trained`: a convolution of `sample_models/` where its shape fits, else random singular vectors with the
  singular values of one (as c_out × c_in·k² matrix), interpolated to the rank that is needed;
- `delta`: an orthogonal matrix at the kernel's centre plus 10⁻³ Gaussian noise, nearly orthogonal;
- `bcop`: an orthogonal matrix composed with 2(k − 1) one-axis convolutions by a projector and its complement
  (Li et al. 2019), orthogonal where stride and padding allow.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file
from torch import Tensor, nn

from lipaudit.spectral import Conv

SAMPLES = Path(__file__).parents[1] / "sample_models"
TRAINED = (
    ("mnist_plain", "4.weight"),
    ("mnist_spectral_norm", "3.weight"),
    ("mnist_lipschitz", "3.weight"),
)


@dataclass(frozen=True, slots=True)
class Layer:
    """The geometry of a square convolution, and how often its network holds it."""

    c_out: int
    c_in: int
    k: int
    n: int
    stride: int = 1
    mode: str = "zeros"
    padding: int | None = None
    count: int = 1

    @property
    def pads(self) -> int:
        """Padding on every side; by default as much as keeps the size."""
        return self.k // 2 if self.padding is None else self.padding

    @property
    def name(self) -> str:
        """`64→128 3×3 /2 n=56`, and `circular` where it is."""
        stride = f" /{self.stride}" if self.stride > 1 else ""
        mode = "" if self.mode == "zeros" else f" {self.mode}"
        return f"{self.c_in}→{self.c_out} {self.k}×{self.k}{stride} n={self.n}{mode}"

    def conv(self, weight: Tensor) -> Conv:
        """The map with that kernel."""
        return Conv(weight, self.n, stride=self.stride, padding=self.pads, padding_mode=self.mode)


def published(build: Callable[[], nn.Module], size: int = 224) -> tuple[Layer, ...]:
    """The distinct convolutions of a network, in the order in which they first occur."""
    found: Counter[Layer] = Counter()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del output
        assert isinstance(module, nn.Conv2d)  # noqa: S101 - it was hooked as one
        if module.groups == 1 and module.dilation == (1, 1):
            layer = Layer(
                module.out_channels,
                module.in_channels,
                module.kernel_size[0],
                inputs[0].shape[-1],
                module.stride[0],
                padding=int(module.padding[0]),
            )
            found[layer] += 1

    with torch.device("meta"):
        network = build().eval()
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                module.register_forward_hook(note)
        network(torch.zeros(1, 3, size, size))
    return tuple(
        Layer(s.c_out, s.c_in, s.k, s.n, s.stride, padding=s.padding, count=c) for s, c in found.items()
    )


NETWORKS: dict[str, Callable[[], tuple[Layer, ...]]] = {
    "ResNet-18": lambda: published(torchvision.models.resnet18),
    "ResNet-50": lambda: published(torchvision.models.resnet50),
    "VGG-16": lambda: published(torchvision.models.vgg16),
    "32×32": lambda: (
        Layer(32, 3, 3, 32),
        Layer(64, 32, 4, 32, 2, padding=1),
        Layer(64, 64, 3, 16),
        Layer(32, 16, 3, 14),  # the trained one of mnist_plain, as it is
        Layer(32, 3, 3, 32, mode="circular"),
        Layer(64, 64, 3, 32, mode="circular"),
        Layer(64, 64, 5, 16, mode="circular"),
        Layer(64, 64, 3, 16, mode="reflect"),
    ),
}


def he(layer: Layer, seed: int = 0) -> Tensor:
    """Gaussian."""
    shape = (layer.c_out, layer.c_in, layer.k, layer.k)
    return _normal(*shape, seed=seed) * math.sqrt(2 / math.prod(shape[1:]))


def trained(layer: Layer) -> Tensor:
    """From `sample_models/`."""
    shape = (layer.c_out, layer.c_in, layer.k, layer.k)
    weights = [load_file(SAMPLES / model / "model.safetensors")[key].double() for model, key in TRAINED]
    for weight in weights:
        if tuple(weight.shape) == shape:
            return weight
    likest = min(weights, key=lambda w: abs(w.shape[-1] - layer.k))
    rows, columns = layer.c_out, math.prod(shape[1:])
    rank = min(rows, columns)
    values = torch.linalg.svdvals(likest.flatten(1))[None, None]
    spread = nn.functional.interpolate(values, rank, mode="linear", align_corners=True).flatten()
    left, right = _orthogonal(rows, rank, seed=1), _orthogonal(columns, rank, seed=2)
    return (left * spread @ right.T).reshape(shape)


def delta(layer: Layer) -> Tensor:
    """An orthogonal matrix at the centre, and noise."""
    weight = 1e-3 * _normal(layer.c_out, layer.c_in, layer.k, layer.k)
    weight[:, :, layer.k // 2, layer.k // 2] += _orthogonal(layer.c_out, layer.c_in)
    return weight


def bcop(layer: Layer) -> Tensor:
    """Projectors, composed."""
    size = max(layer.c_out, layer.c_in)
    weight = _orthogonal(size, size).reshape(size, size, 1, 1)
    for step in range(layer.k - 1):
        for axis in (2, 3):
            half = _orthogonal(size, max(1, size // 2), seed=10 * step + axis)
            projected = (half @ (half.T @ weight.flatten(1))).reshape(weight.shape)
            shape = [*weight.shape]
            shape[axis] = 1
            empty = weight.new_zeros(shape)
            weight = torch.cat([projected, empty], axis) + torch.cat([empty, weight - projected], axis)
    return weight[: layer.c_out, : layer.c_in].contiguous()


KERNELS: dict[str, Callable[[Layer], Tensor]] = {"he": he, "trained": trained, "delta": delta, "bcop": bcop}


def _normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _orthogonal(rows: int, columns: int, seed: int = 0) -> Tensor:
    """Orthonormal columns (or rows, if there are fewer)."""
    tall = torch.linalg.qr(_normal(max(rows, columns), min(rows, columns), seed=seed))[0]
    return tall if rows >= columns else tall.T.contiguous()


def dense(rows: int, columns: int) -> Tensor:
    """A Gaussian matrix with variance 2/columns."""
    return _normal(rows, columns) * math.sqrt(2 / columns)
