"""Gradients reach every parameter, and training keeps the constant."""

import pytest
import torch
from jacobian import largest_slope
from layer_families import CONVS, DENSE, network, shaken

from lipaudit.layers import Householder, MarginLoss


@pytest.mark.parametrize("family", CONVS)
def test_training_keeps_the_constant(family):
    torch.manual_seed(0)
    net = network(family).double()
    x, labels = torch.randn(12, 2, 6, 6, dtype=torch.float64), torch.randint(3, (12,))
    loss, optimizer = MarginLoss(), torch.optim.Adam(net.parameters(), lr=0.02)
    start = {name: value.clone() for name, value in net.state_dict().items()}
    losses = []
    for _ in range(8):
        value = loss(net(x), labels)
        optimizer.zero_grad()
        value.backward()
        assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in net.parameters())
        optimizer.step()
        losses.append(value.item())
    assert losses[-1] < losses[0]
    assert largest_slope(net.eval(), x[:3]) <= 1 + 1e-6
    unmoved = [name for name, value in net.state_dict().items() if torch.equal(value, start[name])]
    assert unmoved == []


# CPL's bound is a constant times the norm, with the gradient of the norm: no derivative to the last digit.
@pytest.mark.parametrize("family", [name for name in DENSE if name != "CPL"])
def test_derivatives(family):
    torch.manual_seed(1)
    layer = shaken(DENSE[family](3, 4)).double()  # AOL has a kink at orthogonal weights
    x = torch.randn(2, 3, dtype=torch.float64)
    names = [name for name, _ in layer.named_parameters()]

    def outputs(*values):
        return torch.func.functional_call(layer, dict(zip(names, values, strict=True)), (x,))

    assert torch.autograd.gradcheck(outputs, tuple(layer.parameters()), rtol=1e-3, atol=1e-6)


def test_householder_learns_its_angles():
    torch.manual_seed(2)
    layer = Householder(4).double()
    x = torch.randn(5, 4, 3, dtype=torch.float64)
    layer(x).square().sum(1).sqrt().sum().backward()
    assert layer.theta.grad is not None
    assert bool((layer.theta.grad != 0).any())
