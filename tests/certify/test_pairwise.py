"""Constants of differences of logits: never below the slope of any activation pattern."""

import itertools
import math

import numpy as np
import pytest
import torch
from small_graph import simplified
from torch import nn

from lipaudit.analyze import Plan, analyze
from lipaudit.certify.pairwise import FEATURES, THROUGH, pair_constants
from lipaudit.compose import compose


def constants(module, *shape):
    graph = simplified(module, *shape)
    bound = compose(graph, analyze(graph, Plan()))
    return (*pair_constants(graph, bound), bound)


def network(widths, seed, activation=nn.ReLU):
    torch.manual_seed(seed)
    layers = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), activation())]
    return nn.Sequential(*layers[:-1]).double()


def steepest(module, y, j, slope=1.0):
    """Largest slope of z_y − z_j over all patterns of units that are on or off."""
    matrices = [layer.weight.detach().numpy() for layer in module if isinstance(layer, nn.Linear)]
    row = matrices[-1][y] - matrices[-1][j]
    best = 0.0
    for bits in itertools.product((0.0, slope), repeat=sum(len(m) for m in matrices[:-1])):
        left, product = list(bits), np.eye(matrices[0].shape[1])
        for matrix in matrices[:-1]:
            mask, left = left[: len(matrix)], left[len(matrix) :]
            product = np.array(mask)[:, None] * (matrix @ product)
        best = max(best, float(np.linalg.norm(row @ product)))
    return best


@pytest.mark.parametrize("widths", [(3, 4, 3), (2, 5, 4, 3), (4, 1, 2), (3, 3, 3, 3, 2), (1, 6, 4)], ids=str)
@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.Sigmoid, nn.LeakyReLU])
def test_no_pattern_beats_them(widths, activation):
    for seed in range(4):
        module = network(widths, seed, activation)
        table, _, bound = constants(module, 1, widths[0])
        rows = module[-1].weight.detach()
        features = bound.total.value / float(torch.linalg.matrix_norm(rows, ord=2))
        for y, j in itertools.permutations(range(widths[-1]), 2):
            found = float(table[y, j])
            slope = 0.25 if activation is nn.Sigmoid else 1.0
            assert steepest(module, y, j, slope) <= found * (1 + 1e-14)
            assert found <= float((rows[y] - rows[j]).norm()) * features * (1 + 1e-6)
            assert found == float(table[j, y])
        assert bool((table.diagonal() == 0).all())


def test_one_hidden_layer_is_the_mean_of_merged_and_separate():
    module = network((6, 8, 4), 1)
    W, A = (module[i].weight.detach() for i in (2, 0))
    table, how, _ = constants(module, 1, 6)
    for y, j in itertools.combinations(range(4), 2):
        p = W[y] - W[j]
        wanted = (float((p @ A).norm()) + float(p.norm() * torch.linalg.matrix_norm(A, ord=2))) / 2
        assert float(table[y, j]) == pytest.approx(wanted, rel=1e-6)
    assert how == THROUGH


def test_a_head_behind_anything_else_counts_its_rows():
    module = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)).double()
    table, how, bound = constants(module, 1, 1, 8)
    assert how == FEATURES
    rows = module[-1].weight.detach()
    features = bound.total.value / float(torch.linalg.matrix_norm(rows, ord=2))
    assert float(table[0, 1]) == pytest.approx(float((rows[0] - rows[1]).norm()) * features, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e150])
def test_scales(scale):
    module = network((3, 4, 3), 0)
    wanted, _, _ = constants(module, 1, 3)
    module[2].weight.data *= scale
    found, _, _ = constants(module, 1, 3)
    if scale < 1e-100:
        assert bool((found + torch.eye(3) >= wanted * scale).all())
    else:
        assert torch.allclose(found, wanted * scale, rtol=1e-9)


def test_equal_rows_and_overflow():
    module = network((3, 4, 3), 0)
    module[2].weight.data[1] = module[2].weight.data[0]
    table, _, _ = constants(module, 1, 3)
    assert float(table[0, 1]) < 1e-100
    module[0].weight.data *= 1e200
    module[2].weight.data *= 1e200
    table, _, _ = constants(module, 1, 3)
    assert not bool(table.isnan().any())
    assert math.isinf(float(table[0, 2]))


def test_weights_that_were_folded_carry_their_rounding():
    """A batch norm before the last layer is folded into it: bounds of the pairs must not shrink by that."""
    module = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.BatchNorm1d(6), nn.Linear(6, 3)).double().eval()
    module[2].running_var.data = torch.rand(6, dtype=torch.float64) + 0.5
    module[2].weight.data = torch.randn(6, dtype=torch.float64)
    table, _, _ = constants(module, 1, 4)
    scale = (module[2].weight / (module[2].running_var + module[2].eps).sqrt()).detach()
    plain = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double()
    plain[0].weight.data = module[0].weight.data
    plain[2].weight.data = module[3].weight.data * scale
    for y, j in itertools.combinations(range(3), 2):
        assert steepest(plain, y, j) <= float(table[y, j]) * (1 + 1e-14)
