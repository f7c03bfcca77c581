"""Trains the network of `mnist_plain` again with what keeps its constant small, and audits what comes out.

    python regularized.py [--data-dir FOLDER] [--epochs N] [--limit N] [--keep FOLDER]

Four runs from one seed, with one optimiser and one loss: as `mnist_plain` is trained; with
`lipaudit.regularizer` in the loss; with `lipaudit.SpectralClip` after the optimiser's steps; with both.  Each
network is exported as `train.py` does it and audited on all test images.  The table tells clean accuracy,
certified accuracy, what an attack leaves of it, and the proved bound on the network.

The attack is projected gradient ascent on z_j − z_y in the l2 ball, from a random start, in plain torch.
What it leaves lies above what is certified, and the truth between the two.  Times are of the processor.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from measure import arch_module
from torch import Tensor, nn
from torch.nn import functional
from train import RECIPES, SEED, normalise, save, training_set

import lipaudit
from lipaudit.data import load_dataset

HERE = Path(__file__).resolve().parent
NAME = "mnist_plain"
RECIPE = RECIPES[NAME]
RADII = ("36/255", "0.5")
EPOCHS = 12
STRENGTH = 0.15
"""Of the regulariser beside the cross-entropy."""
CLIP = {"limit": 1.5, "every": 200}
ATTACKED, STEPS = 500, 100
HEADER = "| run | clean | certified at 36/255 | at 0.5 | attacked at 36/255 | at 0.5 | constant ≤ | ≥ | s |"


@dataclass(frozen=True, slots=True)
class Run:
    """What one run adds to the training."""

    name: str
    regularized: bool
    clipped: bool


RUNS = (
    Run("plain", regularized=False, clipped=False),
    Run("regularised", regularized=True, clipped=False),
    Run("clipped", regularized=False, clipped=True),
    Run("both", regularized=True, clipped=True),
)


def trained(run: Run, images: Tensor, labels: Tensor, epochs: int) -> nn.Module:
    """One network, in evaluation mode; everything but `run` is the same each time."""
    torch.manual_seed(SEED)
    network = arch_module(HERE / NAME).build()
    penalty = lipaudit.regularizer(network, images[:1], bound="norm") if run.regularized else None
    clip = lipaudit.SpectralClip(network, example=images[:1], **CLIP) if run.clipped else None
    steps = epochs * (len(images) // RECIPE.batch)
    optimiser = torch.optim.Adam(network.parameters(), lr=RECIPE.rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RECIPE.rate, total_steps=steps, pct_start=0.2)
    network.train()
    for _ in range(epochs):
        order = torch.randperm(len(images))[: len(images) // RECIPE.batch * RECIPE.batch]
        for chosen in order.split(RECIPE.batch):
            loss = functional.cross_entropy(network(images[chosen]), labels[chosen])
            if penalty is not None:
                loss = loss + STRENGTH * penalty()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            if clip is not None:
                clip.step()
    if clip is not None:
        clip.clip()
    if penalty is not None:
        penalty.close()
    return network.eval().requires_grad_(requires_grad=False)


def withstood(scores: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, eps: float) -> float:
    """The share of images for which no step of the attack finds another answer within eps."""
    generator = torch.Generator().manual_seed(SEED)
    start = torch.randn(images.shape, generator=generator)
    shift = within(start, eps)
    fallen = torch.zeros(len(images), dtype=torch.bool)
    for _ in range(STEPS):
        left = (~fallen).nonzero().flatten()
        at = shift[left].requires_grad_()
        logits = scores(images[left] + at)
        lead = (
            logits.scatter(1, labels[left, None], -torch.inf).amax(1)
            - logits.gather(1, labels[left, None])[:, 0]
        )
        fallen[left] = lead.detach() >= 0
        (slope,) = torch.autograd.grad(lead.sum(), at)
        size = slope.flatten(1).norm(dim=1).clamp(min=1e-30)[:, None, None, None]
        shift[left] = within(at.detach() + 2.5 * eps / STEPS * slope / size, eps)
        if fallen.all():
            break
    return 1 - fallen.double().mean().item()


def within(shift: Tensor, eps: float) -> Tensor:
    """The nearest point in the ball, for each of a batch."""
    length = shift.flatten(1).norm(dim=1)[:, None, None, None]
    return shift * (eps / length).clamp(max=1)


def row(run: Run, network: nn.Module, seconds: float, data_dir: Path | None, folder: Path) -> str:
    """Export, audit, attack: one line of the table."""
    folder.mkdir(parents=True, exist_ok=True)
    save(network, RECIPE, folder)
    evidence = lipaudit.audit(folder / "model.onnx", dataset="mnist", data_dir=data_dir, eps=RADII).evidence
    robustness, bound = evidence.robustness, evidence.global_
    test = load_dataset("mnist", data_dir=data_dir, limit=ATTACKED)
    if test is None or robustness is None:
        raise SystemExit("MNIST was not found")
    pixels = test.images.float() / 255
    left = [
        withstood(lambda x: network(normalise(x, RECIPE)), pixels, test.labels, float(Fraction(eps)))
        for eps in RADII
    ]
    clean, total = robustness.clean_accuracy.count, robustness.clean_accuracy.n
    shares = [
        clean / total,
        *(point.certified_count / total for point in robustness.curve),
        *left,
    ]
    cells = [f"{100 * share:.2f}" for share in shares]
    bounds = [f"{bound.upper.value:.4g}", f"{bound.lower.value:.4g}"]
    return "| " + " | ".join([run.name, *cells, *bounds, f"{seconds:.0f}"]) + " |"


def main() -> None:
    """Train, audit and print."""
    parser = argparse.ArgumentParser(description="Train with and without a small Lipschitz constant.")
    parser.add_argument("--data-dir", type=Path, help="folder with mnist/ (default: where lipaudit looks)")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    parser.add_argument("--limit", type=int, help="train on the first N images only, for a quick look")
    parser.add_argument("--only", choices=[run.name for run in RUNS])
    parser.add_argument("--keep", type=Path, help="folder for the exported networks")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    data = training_set("mnist", options.data_dir)
    if data is None:
        raise SystemExit("MNIST was not found")
    images, labels = normalise(data[0][: options.limit].float() / 255, RECIPE), data[1][: options.limit]
    print(HEADER, "|---" * 9 + "|", sep="\n", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        for run in RUNS:
            if options.only in (None, run.name):
                began = time.process_time()
                network = trained(run, images, labels, options.epochs)
                seconds = time.process_time() - began
                folder = (options.keep or Path(temporary)) / run.name
                print(row(run, network, seconds, options.data_dir, folder), flush=True)


if __name__ == "__main__":
    main()
