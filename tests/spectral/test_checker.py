"""The checker on matrices whose norm is known exactly."""

from __future__ import annotations

import pytest
import torch

from lipaudit.spectral import checker


def hadamard(order):
    matrix = torch.ones(1, 1, dtype=torch.float64)
    while len(matrix) < order:
        matrix = torch.cat([torch.cat([matrix, matrix], 1), torch.cat([matrix, -matrix], 1)])
    return matrix  # entries ±1, norm √order


@pytest.mark.parametrize("order", [1, 4, 64, 256])
@pytest.mark.parametrize("scale", [1.0, 2.0**-100, 2.0**300])
def test_hadamard_matrices_are_proved_just_above_their_norm_and_never_below(order, scale):
    matrix, norm = hadamard(order)[None] * scale, order**0.5 * scale
    assert not checker.proves(matrix, norm * (1 - 1e-9)).any()
    assert checker.proves(matrix, norm * (1 + 1e-8)).all()


def test_constant_matrices():
    matrix = torch.full((1, 9, 16), 3.0, dtype=torch.float64)  # norm 3·√(9·16) = 36
    assert not checker.proves(matrix, 36 * (1 - 1e-9)).any()
    assert checker.proves(matrix, 36 * (1 + 1e-8)).all()


def test_a_factorisation_that_lies_proves_nothing(monkeypatch):
    matrix = hadamard(8)[None]
    lie = torch.eye(8, dtype=torch.float64)[None]
    monkeypatch.setattr(torch.linalg, "cholesky_ex", lambda _: (lie, torch.zeros(1, dtype=torch.int32)))
    assert not checker.proves(matrix, 2.0).any()


def test_nan_and_infinity_are_never_proved():
    for bad in (float("nan"), float("inf")):
        assert not checker.proves(torch.full((1, 2, 2), bad, dtype=torch.float64), 1e300).any()
