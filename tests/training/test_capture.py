"""What a batch norm divides by, wherever in a step the regulariser is called."""

from __future__ import annotations

import copy
import gc
import weakref

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import lipaudit

X = torch.randn(16, 1, 6, 6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def network():
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 2, 3), nn.BatchNorm2d(2)]
    return nn.Sequential(*layers).double()


def loss_of(model, x=X):
    return model(x).pow(3).mean()


def penalty_first(model, penalty):
    total = penalty()
    (total + loss_of(model)).backward()


def after_the_backward_pass(model, penalty):
    loss_of(model).backward()
    penalty().backward()


def accumulated(model, penalty):
    for part in X.split(8):
        loss_of(model, part).backward()
    penalty().backward()


def attacked_in_between(model, penalty):
    loss = loss_of(model)
    x = X.clone().requires_grad_()
    torch.autograd.grad(loss_of(model, x), x)
    (loss + penalty()).backward()


def checkpointed(model, penalty):
    x = X.clone().requires_grad_()
    loss = checkpoint(model, x, use_reentrant=True).pow(3).mean()
    (loss + penalty()).backward()


def called_twice(model, penalty):
    (loss_of(model) + penalty() + penalty()).backward()


def not_trained_on(model, _penalty):
    model(X)


ORDERS = [
    penalty_first,
    after_the_backward_pass,
    accumulated,
    attacked_in_between,
    checkpointed,
    called_twice,
    not_trained_on,
]


@pytest.mark.parametrize("bound", ["norm", "gram"])
@pytest.mark.parametrize("order", ORDERS)
def test_every_order_trains_and_shrinks_nothing_that_batch_norm_gives_back(order, bound):
    model = network()
    penalty = lipaudit.regularizer(model, X, bound=bound, target=1e-3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        order(model, penalty)
        optimizer.step()
    weights = model[0].weight, model[3].weight
    for weight, gradient in zip(weights, torch.autograd.grad(penalty(), weights), strict=True):
        assert gradient.abs().amax() > 1e-3
        assert (gradient * weight).sum(dim=(1, 2, 3)).abs().amax() < 1e-3


def test_a_pass_to_be_differentiated_leaves_its_graph():
    gradients = []
    for differentiated in (False, True):
        model = network()
        penalty = lipaudit.regularizer(model, X, target=1e-3)
        x = X.clone().requires_grad_()
        loss = loss_of(model, x)
        if differentiated:
            torch.autograd.grad(loss, x, create_graph=True)
        gradients.append(torch.autograd.grad(penalty(), [model[0].weight, model[1].weight, model[3].weight]))
    assert all(map(torch.equal, *gradients))


def test_a_backward_pass_through_an_earlier_batch_leaves_the_last_one():
    model = network()
    model[1].momentum = model[4].momentum = 0.0
    penalty = lipaudit.regularizer(model, X, target=1e-3)
    for _ in range(60):
        penalty()
    gradients = []
    for used in (False, True):
        earlier = loss_of(model, X[:4])
        loss_of(model)
        if used:
            earlier.backward()
        gradients += torch.autograd.grad(penalty(), model[1].weight)
    assert torch.allclose(*gradients, rtol=1e-6)


class Noticed(torch.autograd.Function):
    """The identity, with an object that lives as long as the graph."""

    @staticmethod
    def forward(ctx, x, one):
        ctx.one = one
        return x.clone()

    @staticmethod
    def backward(_ctx, gradient):
        return gradient, None


class Witness:
    pass


@pytest.mark.parametrize("copied", [False, True])
@pytest.mark.parametrize("trained", [False, True])
def test_no_graph_is_kept_longer_than_it_is_of_use(trained, copied):
    model = network()
    penalty = lipaudit.regularizer(model, X)
    one = copy.deepcopy(model) if copied else model
    witness = Witness()
    graph = weakref.ref(witness)
    loss = loss_of(one, Noticed.apply(X.clone().requires_grad_(), witness))
    del witness
    if trained:
        loss.backward()
    del loss
    assert (graph() is None) is trained
    del penalty, model, one
    gc.collect()
    assert graph() is None


@pytest.mark.slow  # the compiler is imported
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("order", [penalty_first, after_the_backward_pass, accumulated, called_twice])
def test_a_compiled_network_is_trained_in_every_order(order):
    model = network()
    penalty = lipaudit.regularizer(model, X, bound="norm", target=1e-3)
    compiled = torch.compile(model, backend="aot_eager", fullgraph=True)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for _ in range(3):
        optimizer.zero_grad()
        order(compiled, penalty)
        optimizer.step()


def test_a_filter_of_zeros_has_no_direction():
    model = network()
    with torch.no_grad():
        model[0].weight[1] = 0
    lipaudit.regularizer(model, X, form="sum")().backward()
    assert model[0].weight.grad.isfinite().all()
