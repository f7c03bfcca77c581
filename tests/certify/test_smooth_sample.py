"""The trained sample with one smooth hidden layer: no attack gets inside a radius, and radii are large."""

from pathlib import Path

import pytest
import torch
from smooth_nets import certified, decided
from torch import Tensor, nn

from lipaudit.data import load_dataset

HERE = Path(__file__).resolve().parents[2] / "sample_models"


@pytest.fixture(scope="module")
def sample():
    """The network with its stored weights, in float64, and 500 test images."""
    from safetensors.torch import load_file  # noqa: PLC0415 - only here

    network = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.Softplus(1.0, 60.0), nn.Linear(256, 10))
    network.load_state_dict(load_file(HERE / "mnist_softplus" / "model.safetensors"))
    data = load_dataset(f"npz:{HERE / 'mnist_test.npz'}", limit=500)
    return network.double().eval().requires_grad_(False), data.images.double().reshape(-1, 1, 28, 28) / 255


def attacked(network: nn.Module, x: Tensor, radii: Tensor, steps: int) -> Tensor:
    """Whether an l2 attack within `radii` changes the answer: ascent from x and from a random point."""
    labels, found = decided(network, x), torch.zeros(len(x), dtype=torch.bool)
    generator = torch.Generator().manual_seed(0)
    ball = radii.reshape(-1, 1, 1, 1)
    for start in (0.0, 0.5):
        delta = torch.randn(x.shape, generator=generator, dtype=torch.float64)
        delta = start * ball * delta / delta.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
        for step in range(steps):
            delta.requires_grad_(True)
            z = network(x + delta)
            own = z.gather(1, labels[:, None])[:, 0]
            rest = z.scatter(1, labels[:, None], -torch.inf).amax(1)
            (slope,) = torch.autograd.grad((rest - own).sum(), delta)
            with torch.no_grad():
                length = slope.flatten(1).norm(dim=1).clamp(min=1e-300).reshape(-1, 1, 1, 1)
                delta = delta + ball * (0.5 if step < steps // 2 else 0.05) * slope / length
                size = delta.flatten(1).norm(dim=1).reshape(-1, 1, 1, 1)
                delta = delta * (ball / size.clamp(min=1e-300)).clamp(max=1)
                found |= decided(network, x + delta) != labels
    return found


@pytest.fixture(scope="module")
def few(sample):
    """The first images, certified."""
    return certified(sample[0], sample[1][:40])


@pytest.mark.slow
@pytest.mark.parametrize(("count", "steps"), [(40, 40), (500, 200)])
def test_no_attack_gets_inside_a_radius_and_soon_beyond(sample, few, count, steps):
    network, images = sample
    x = images[:count]
    radii = (few if count == 40 else certified(network, x)).both.radii.radius
    assert not attacked(network, x, radii * (1 - 1e-9), steps).any()
    # The attack is a strong one: it succeeds a little beyond most of the radii.
    assert attacked(network, x, radii * 1.05, steps).double().mean() > 0.6


@pytest.mark.slow
def test_what_slope_curvature_and_their_dual_are_worth(few):
    plain, both = few.plain.radii.radius, few.both.radii.radius
    assert (plain > 0.5).sum() < 36
    assert (both > 0.5).sum() >= 37
    assert (both / plain).median() > 1.5
