"""Measures the sample models with plain torch: what an audit of them should roughly find.

    python measure.py

Nothing here is a guarantee: norms come from power iteration, hence from below.  For each model of MNIST it
prints the clean accuracy on `mnist_test.npz`, the norm of every linear layer and their product, the largest
Jacobian norm over the images (a witness: the network's true constant is at least that), and the certified
accuracy that the product of the norms would give.  All distances are between images with pixels in [0, 1].
"""

from __future__ import annotations

import importlib.util
import json
import math
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn

__all__ = ["arch_module", "clean_accuracy", "margin_accuracy"]

HERE = Path(__file__).resolve().parent
STEPS = 200
LINEAR = {"Conv2d", "Linear", "BatchNorm2d", "FrequencyFilter", "SkewExponential"}
RADII = ("36/255", "72/255", "108/255", "1/2", "1")


def arch_module(folder: Path) -> ModuleType:
    """The folder's `arch.py`, imported."""
    spec = importlib.util.spec_from_file_location(f"{folder.name}_arch", folder / "arch.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{folder} has no arch.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def load_model(folder: Path) -> nn.Module:
    """The stored network with its preprocessing in front: pixels in [0, 1] -> logits, in float64."""
    network = arch_module(folder).build()
    network.load_state_dict(load_file(folder / "model.safetensors"))
    with safe_open(folder / "model.safetensors", "pt") as file:
        preprocessing = json.loads(file.metadata()["lipaudit.preprocessing"])
    std = float(preprocessing.get("std", ["1"])[0])
    first = nn.Conv2d(1, 1, 1).double()
    nn.init.constant_(first.weight, 1 / std)
    nn.init.constant_(first.bias, -float(preprocessing.get("mean", ["0"])[0]) / std)
    return nn.Sequential(first, *network.double()).eval().requires_grad_(requires_grad=False)


@torch.no_grad()
def clean_accuracy(network: nn.Module, inputs: Tensor, labels: Tensor) -> float:
    """The share of `inputs` whose largest logit is at the label."""
    logits = torch.cat([network(batch) for batch in inputs.split(500)])
    return (logits.argmax(1) == labels).double().mean().item()


@torch.no_grad()
def margin_accuracy(network: nn.Module, inputs: Tensor, labels: Tensor, eps: float) -> float:
    """The share of `inputs` whose true logit leads by more than √2·eps."""
    logits = torch.cat([network(batch) for batch in inputs.split(500)])
    true = logits.gather(1, labels[:, None])
    others = logits.scatter(1, labels[:, None], -math.inf).amax(1, keepdim=True)
    return (true - others > math.sqrt(2) * eps).double().mean().item()


def power_iteration(linear: Callable[[Tensor], Tensor], shape: torch.Size) -> float:
    """The norm of a linear map on tensors of `shape`, from below."""
    generator = torch.Generator().manual_seed(0)
    v = torch.randn(shape, generator=generator, dtype=torch.float64)
    for _ in range(STEPS):
        v = (v / v.norm()).requires_grad_()
        image = linear(v)
        (v,) = torch.autograd.grad(image, v, image.detach())
    return image.norm().item()


def flat(network: nn.Sequential) -> list[nn.Module]:
    """The layers, those of nested sequences one by one."""
    nested = [flat(layer) if isinstance(layer, nn.Sequential) else [layer] for layer in network]
    return [layer for part in nested for layer in part]


def layer_norms(network: nn.Module, sample: Tensor) -> list[tuple[str, float]]:
    """Name and norm of every linear layer, at the shapes `sample` meets; the other layers are 1-Lipschitz."""
    found = []
    for index, layer in enumerate(flat(network)):
        if type(layer).__name__ in LINEAR:
            offset = layer(torch.zeros_like(sample))
            norm = power_iteration(lambda v, layer=layer, offset=offset: layer(v) - offset, sample.shape)
            found.append((f"{index} {type(layer).__name__}", norm))
        sample = layer(sample)
    return found


def jacobian_norms(network: nn.Module, images: Tensor) -> Tensor:
    """(N,) norms of the Jacobian at each image, from its rows (one backward pass per logit)."""
    images = images.clone().requires_grad_()
    logits = network(images)
    rows = [torch.autograd.grad(logits[:, k].sum(), images, retain_graph=True)[0] for k in range(10)]
    return torch.linalg.matrix_norm(torch.stack([row.flatten(1) for row in rows], 1), 2)


@torch.no_grad()
def certified(network: nn.Module, images: Tensor, labels: Tensor, features: float) -> list[float]:
    """The share of images with radius > eps, radius = min_j (z_y - z_j) / (features * ||w_y - w_j||).

    `features` is the constant up to the last layer.
    """
    logits = network(images)
    weight = network[-1].weight
    pair = torch.cdist(weight, weight)[labels] * features
    gap = logits.gather(1, labels[:, None]) - logits
    radius = (gap / pair).scatter(1, labels[:, None], math.inf).amin(1)
    eps = [int(text.split("/")[0]) / int((text + "/1").split("/")[1]) for text in RADII]
    return [(radius > value).double().mean().item() for value in eps]


def main() -> None:
    """Print everything for every model that is there."""
    torch.set_num_threads(1)
    with np.load(HERE / "mnist_test.npz") as archive:
        images = torch.from_numpy(archive["images"]).double()[:, None] / 255
        labels = torch.from_numpy(archive["labels"])
    for folder in sorted(path.parent for path in HERE.glob("mnist_*/model.safetensors")):
        network = load_model(folder)
        print(f"{folder.name}: clean accuracy {clean_accuracy(network, images, labels):.3f}")
        norms = layer_norms(network, images[:1])
        for name, norm in norms:
            print(f"  layer {name:<14} norm {norm:.6f}")
        product = math.prod(norm for _, norm in norms)
        witness = torch.cat([jacobian_norms(network, batch) for batch in images.split(100)])
        print(f"  product of norms {product:.6g}")
        print(f"  Jacobian norm over the images: largest {witness.max():.6f} (image {int(witness.argmax())})")
        shares = certified(network, images, labels, product / norms[-1][1])
        print(
            "  certified", ", ".join(f"{eps}: {share:.3f}" for eps, share in zip(RADII, shares, strict=True))
        )


if __name__ == "__main__":
    main()
