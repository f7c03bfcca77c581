"""Two published checkpoints through --arch: their accuracies on all test images, and what is certified.

Wong & Kolter trained them for certificates by linear programs, in l∞ and in l2.  The product of layer norms
is a far coarser one: at the radius of their training (36/255) it proves nothing; at 0.01, 88 % of the MNIST
images, at 0.001, 53 % of CIFAR-10's are certified.
"""

from fractions import Fraction
from pathlib import Path

import pytest
import torch

import lipaudit

SHARED = Path(__file__).parents[2].parent / "shared"
ARCH = """
from torch import nn

def net(channels, image):
    return nn.Sequential(
        nn.Conv2d(channels, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(32 * (image // 4) ** 2, 100), nn.ReLU(), nn.Linear(100, 10))
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (SHARED / "data" / "cifar10").exists(), reason="../shared is absent"),
]


def audit(tmp_path, name, arguments, **options):
    (tmp_path / "net.py").write_text(ARCH)
    return lipaudit.audit(
        SHARED / "models" / "torch" / name, arch=f"{tmp_path}/net.py:net{arguments}", attack=False, **options
    ).evidence


def network(name, channels, image):
    """The published weights, read and run by torch alone; of the CIFAR-10 file's stages the first."""
    stored = torch.load(SHARED / "models" / "torch" / name, weights_only=True, map_location="cpu")
    stored = stored["state_dict"][0] if "state_dict" in stored else stored
    space = {}
    exec(ARCH, space)  # noqa: S102 - the text above
    net = space["net"](channels, image)
    net.load_state_dict(stored)
    return net.double().requires_grad_(False)


def stretched(function, point, rounds=60):
    """‖J v‖ for the vector v that power iteration ends with."""
    v = torch.randn(point.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for _ in range(rounds):
        v = v / torch.linalg.vector_norm(v)
        _, pull = torch.func.vjp(function, point)
        image = torch.func.jvp(function, (point,), (v,))[1]
        (v,) = pull(image)
    return float(torch.linalg.vector_norm(image))


def check_upper(found, net, shape, factor=1.0):
    """Between what one point shows and the product of the layers' norms."""
    product, x = factor, torch.rand(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    witness = factor * stretched(net, x)
    for layer in net:
        if list(layer.parameters()):
            product *= stretched(layer, x, 300)
        x = layer(x)
    assert witness <= found <= product * 1.001, (witness, found, product)


def counts(evidence):
    return {point.eps_exact: point.certified_count for point in evidence.robustness.curve}


def test_mnist(tmp_path):
    evidence = audit(
        tmp_path,
        "mnist_wong_kolter.pth",
        '{"channels": 1, "image": 28}',
        dataset="mnist",
        data_dir=SHARED / "data",
        scale=1,
        eps=("0.01", "0.02"),
    )
    assert (evidence.robustness.clean_accuracy.count, evidence.robustness.clean_accuracy.n) == (9820, 10000)
    net = network("mnist_wong_kolter.pth", 1, 28)
    check_upper(evidence.global_.upper.value, net, (1, 1, 28, 28))
    found = counts(evidence)
    assert (found["0.01"] >= 8815, found["0.02"] >= 4445) == (True, True), found
    assert evidence.model.architecture == 'net.py:net{"channels": 1, "image": 28}'


def test_cifar(tmp_path):
    evidence = audit(
        tmp_path,
        "cifar_small_36px.pth",
        '{"channels": 3, "image": 32}',
        dataset="cifar10",
        data_dir=SHARED / "data",
        mean=[Fraction(x) for x in ("0.485", "0.456", "0.406")],
        std=[Fraction("0.225")],
        eps=("0.001", "0.005"),
    )
    assert (evidence.robustness.clean_accuracy.count, evidence.robustness.clean_accuracy.n) == (5438, 10000)
    net = network("cifar_small_36px.pth", 3, 32)
    check_upper(evidence.global_.upper.value, net, (1, 3, 32, 32), 1 / 0.225)
    found = counts(evidence)
    assert (found["0.001"] >= 5250, found["0.005"] >= 4550) == (True, True), found
    assert any("a list of 2 stages; the first was taken" in note for note in evidence.limitations)
