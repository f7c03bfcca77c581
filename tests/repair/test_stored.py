"""The factors that were folded into stored weights, where weights are 0, too."""

import pytest
import torch

from lipaudit.repair.stored import _factors


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3, 3)])
@pytest.mark.parametrize("groups", [1, 2, 3])
def test_zeros_have_the_factors_of_their_row_and_column(shape, groups):
    r, c = numbers(6, seed=1), numbers(groups, 5, seed=2)
    full = (r.reshape(groups, -1, 1) * c[:, None]).reshape(6, 5)
    kept = numbers(6, 5, seed=3) > 0.3
    kept[:, 0] = kept[0] = kept[2] = kept[4] = True  # every block is connected
    spread = [1] * (len(shape) - 2)
    stored = numbers(*shape) * kept.reshape(6, 5, *spread)
    true = full.reshape(6, 5, *spread).expand(shape)
    assert not kept.all()
    found = _factors(stored, stored * true, groups)
    assert torch.allclose(found, true, rtol=1e-9, atol=0)


def test_what_nothing_tells_stays():
    stored = torch.block_diag(numbers(2, 2), numbers(2, 2, seed=1), torch.zeros(1, 1).double())
    true = numbers(5, seed=2)[:, None] * numbers(5, seed=3)
    found = _factors(stored, stored * true, 1)
    assert torch.equal(found != 0, stored != 0)


def test_rows_of_factor_zero_stay_and_other_structures_are_left():
    stored = numbers(4, 4)
    stored[0, 1] = stored[2, 3] = 0
    rows = torch.tensor([2.0, 0.0, -3.0, 1.0]).double()[:, None]
    assert torch.allclose(_factors(stored, rows * stored, 1), rows.expand(4, 4), rtol=1e-12, atol=0)
    any_factor = numbers(4, 4, seed=1)
    found = _factors(stored, any_factor * stored, 1)
    assert torch.equal(found == 0, stored == 0)
