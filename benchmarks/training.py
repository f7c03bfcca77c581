"""What the regulariser and the callback add to a step of training, as ratios to the plain step.

    python benchmarks/training.py [--rounds N]

The steps of all rows alternate, so that another program's load meets all alike; times are of the processor,
medians over the rounds.  Random images and labels: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional
from torchvision.models import resnet18

import lipaudit
from lipaudit.training.penalty import BOUNDS

sys.path.insert(0, str(Path(__file__).parents[1] / "sample_models"))

from measure import arch_module

SAMPLES = Path(__file__).parents[1] / "sample_models"
NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "mnist_plain, batches of 128": (arch_module(SAMPLES / "mnist_plain").build, (128, 1, 28, 28)),
    "ResNet-18 at 32×32, batches of 64": (lambda: resnet18(num_classes=10), (64, 3, 32, 32)),
}


def step_of(make: Callable[[], nn.Module], shape: tuple[int, ...], bound: str | None) -> Callable[[], None]:
    """A step of training, with that regulariser."""
    torch.manual_seed(0)
    network = make().train()
    images, labels = torch.randn(shape), torch.randint(10, shape[:1])
    penalty = None if bound is None else lipaudit.regularizer(network, images[:2], bound=bound)
    optimiser = torch.optim.SGD(network.parameters(), lr=1e-4)

    def step() -> None:
        optimiser.zero_grad()
        loss = functional.cross_entropy(network(images), labels)
        if penalty is not None:
            loss = loss + 0.01 * penalty()
        loss.backward()
        optimiser.step()

    return step


def clip_of(make: Callable[[], nn.Module], shape: tuple[int, ...]) -> Callable[[], None]:
    """A clip where nothing lies above the limit: what reading all spectra takes, from warm starts."""
    torch.manual_seed(0)
    network = make()
    clip = lipaudit.SpectralClip(network, limit=1e3, example=torch.randn(shape)[:2])
    return clip.clip


def seconds(call: Callable[[], None]) -> float:
    """Of the processor."""
    began = time.process_time()
    call()
    return time.process_time() - began


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="What training with small constants costs.")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    torch.set_num_threads(1)
    for title, (make, shape) in NETWORKS.items():
        steps = {"plain step": step_of(make, shape, None)}
        steps |= {f"with `{bound}`": step_of(make, shape, bound) for bound in BOUNDS}
        for step in steps.values():
            step()  # the first one starts power steps from nothing
        times: dict[str, list[float]] = {name: [] for name in steps}
        for _ in range(options.rounds):
            for name, step in steps.items():
                times[name].append(seconds(step))
        medians = {name: statistics.median(found) for name, found in times.items()}
        clip = clip_of(make, shape)
        medians["one clip, from nothing"] = seconds(clip)
        medians["one clip, warm"] = seconds(clip)
        print(f"\n| {title} | ms | × plain step |\n|---|---|---|")
        for name, median in medians.items():
            print(f"| {name} | {1000 * median:.0f} | {median / medians['plain step']:.2f} |", flush=True)


if __name__ == "__main__":
    main()
