"""Bounds and estimates of maps whose weights lie on a GPU."""

from __future__ import annotations

import pytest
import torch
from oracles import spectral_norm
from zoo import ZOO

from lipaudit.errors import NotCovered
from lipaudit.spectral import ESTIMATES, METHODS, Conv, bracket, checker
from lipaudit.spectral.lanczos import quotient

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")

ORACLE_ERROR = 1e-12


def on_cuda(specimen):
    """The specimen with its weight on the GPU."""
    linear_map = specimen.make()
    return linear_map.with_weight(linear_map.weight.cuda())


@pytest.mark.parametrize("specimen", ZOO, ids=lambda s: s.name)
def test_bounds_on_cuda_are_bounds(specimen):
    linear_map, truth = on_cuda(specimen), specimen.truth
    assert linear_map.weight.is_cuda
    for method in METHODS:
        try:
            found = method.bound(linear_map).value
        except NotCovered:
            continue
        assert found >= truth * (1 - ORACLE_ERROR), method.name
    for estimator in ESTIMATES:
        assert estimator.estimate(linear_map).value <= truth * (1 + ORACLE_ERROR)
    both = bracket(linear_map)
    assert truth * (1 - ORACLE_ERROR) <= both.above.value
    assert both.below.value <= truth * (1 + ORACLE_ERROR)
    if 1e-290 < truth < 1e290:
        assert both.above.value <= truth * specimen.slack


@pytest.mark.parametrize("specimen", ZOO, ids=lambda s: s.name)
def test_the_matrix_on_cuda_is_the_oracles(specimen):
    found, truth = on_cuda(specimen).as_matrix(), specimen.matrix()
    assert found.is_cuda
    scale = float(truth.abs().max()) or 1.0
    assert torch.allclose(found.cpu() / scale, truth / scale, rtol=1e-13, atol=1e-13)


def test_the_checker_grants_on_cuda_what_is_true():
    generator = torch.Generator().manual_seed(0)
    batch = torch.randn(6, 120, 150, generator=generator, dtype=torch.float64)
    for G in (batch, torch.complex(batch, batch.flip(2))):
        norms = [float(torch.linalg.svdvals(g)[0]) for g in G]
        assert checker.proves(G.cuda(), max(norms) * (1 + 1e-8)).all()
        for g, norm in zip(G, norms, strict=True):
            assert not checker.proves(g[None].cuda(), norm * (1 - 1e-9)).any()


def test_witnesses_on_cuda_are_evaluated_in_double_precision():
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(16, 16, 3, 3, generator=generator, dtype=torch.float64)
    linear_map = Conv(weight.cuda(), 12, padding=1)
    truth = spectral_norm(Conv(weight, 12, padding=1).as_matrix())
    v = torch.linalg.svd(Conv(weight, 12, padding=1).as_matrix())[2][0].reshape(16, 12, 12)
    assert truth * (1 - 1e-9) <= quotient(linear_map, v.cuda()) <= truth
