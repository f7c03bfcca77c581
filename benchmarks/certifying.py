"""What certificates add to a forward pass: margins, forward errors and radii of 10,000 images.

    python benchmarks/certifying.py [--samples 10000] [--rounds 5]

Prints, for each network, the seconds of a plain float64 loop over its torch module and those of `certify` on
the same images in batches of the same size, both one after the other in every round, and the median ratio.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from lipaudit.analyze import Plan, analyze
from lipaudit.blocks import find_claims
from lipaudit.certify.dataset import certify, chunk_size
from lipaudit.certify.pairwise import pair_constants
from lipaudit.compose import compose
from lipaudit.data import Dataset
from lipaudit.load.translate import translate
from lipaudit.passes import simplify

SAMPLES = Path(__file__).parents[1] / "sample_models"


class Residual(nn.Module):
    """x + f(x)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inner = nn.Conv2d(width, width, 3, padding=1)
        self.outer = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """The block."""
        return x + self.outer(self.inner(x).relu())


def residual(width: int = 16, blocks: int = 3) -> nn.Module:
    """A small residual network for 32×32 images."""
    torch.manual_seed(0)
    body = [Residual(width) for _ in range(blocks)]
    return nn.Sequential(
        nn.Conv2d(3, width, 3), *body, nn.AvgPool2d(5), nn.Flatten(), nn.Linear(36 * width, 10)
    )


def dense(*widths: int) -> nn.Module:
    """Dense layers with ReLU between them."""
    torch.manual_seed(0)
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.ReLU())]
    return nn.Sequential(nn.Flatten(), *layers[:-1])


def sample(name: str) -> nn.Module:
    """A shipped network."""
    spec = importlib.util.spec_from_file_location("arch", SAMPLES / name / "arch.py")
    assert spec is not None  # noqa: S101 - the file is shipped
    assert spec.loader is not None  # noqa: S101
    source = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(source)
    module: nn.Module = source.build()
    module.load_state_dict(load_file(SAMPLES / name / "model.safetensors"))
    return module


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mnist_plain": (lambda: sample("mnist_plain"), (1, 28, 28)),
    "mnist_spectral_norm": (lambda: sample("mnist_spectral_norm"), (1, 28, 28)),
    "mnist_lipschitz": (lambda: sample("mnist_lipschitz"), (1, 28, 28)),
    "residual 32×32": (residual, (3, 32, 32)),
    "dense 784-1024-1024-10": (
        lambda: nn.Sequential(
            nn.Flatten(),
            nn.Linear(784, 1024),
            nn.ReLU(),
            nn.Linear(1024, 1024),
            nn.ReLU(),
            nn.Linear(1024, 10),
        ),
        (1, 28, 28),
    ),
}


def measure(module: nn.Module, shape: tuple[int, ...], count: int, rounds: int) -> tuple[float, float, float]:
    """Median seconds of the plain loop and of the certificates, and their median ratio."""
    module = module.double().eval()
    generator = torch.Generator().manual_seed(0)
    images = torch.rand((count, *shape), generator=generator, dtype=torch.float64)
    program = torch.export.export(module, (images[:1],))
    graph = simplify(translate(program))
    layers = analyze(graph)
    plan = Plan(profile="fast")
    bound = compose(graph, layers, find_claims(graph, layers, plan))
    constants = pair_constants(graph, bound)
    labels = torch.zeros(count, dtype=torch.int64)
    data = Dataset("random", images, labels, torch.arange(count), count, "pixel [0,1]", "", official=None)
    step = chunk_size(graph)
    times = []
    for _ in range(rounds):
        start = time.process_time()
        with torch.no_grad():
            for first in range(0, count, step):
                module(images[first : first + step]).argmax(1)
        middle = time.process_time()
        certify(graph, layers, data, constants, claims=bound.claims)
        times.append((middle - start, time.process_time() - middle))
    plain, ours = (statistics.median(column) for column in zip(*times, strict=True))
    return plain, ours, statistics.median(b / a for a, b in times)


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    print(f"{platform.machine()}, {torch.get_num_threads()} threads, torch {torch.__version__}, CPU seconds")
    for name, (make, shape) in NETWORKS.items():
        plain, ours, ratio = measure(make(), shape, arguments.samples, arguments.rounds)
        print(f"{name:24} forward {plain:6.2f} s   certify {ours:6.2f} s   ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    main()
