"""A fixed batch of a torch.export program is set to 1 only where every call treats each sample by itself."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import nn

from lipaudit.errors import InputRefused
from lipaudit.load import load_model


class Call(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.layer = nn.Linear(6, 6)
        self.function = function

    def forward(self, x):
        return self.function(self.layer, x)


def save(function, path, batch=4):
    torch.manual_seed(0)
    program = torch.export.export(Call(function).eval(), (torch.zeros(batch, 6),))
    torch.export.save(program, path)
    return path


def far(x):
    """Nothing on usual inputs."""
    return F.relu(x - 1e6)


COUPLED = {
    "mean": lambda _, x: x + far(x).mean(0),
    "softmax": lambda _, x: x + far(x).softmax(0) * 0 + far(x) * far(x).softmax(0),
    "turned": lambda _, x: x + far(x).roll(1, 0),
    "flipped": lambda _, x: x + far(x).flip(0),
    "cumulative": lambda _, x: x + far(x).cumsum(0),
    "one for all": lambda _, x: x + far(x)[:1],
    "a constant per sample": lambda _, x: x + far(x) * torch.arange(4.0)[:, None],
    "a bias per sample": lambda _, x: x + far(x + torch.arange(4.0)[:, None]),
    "transposed": lambda _, x: x + far(x).reshape(6, 4).T,
    "matrix product": lambda _, x: x + far(x) @ far(x).T @ far(x),
    "sorted": lambda _, x: x + far(x).sort(0).values,
    "batch norm": lambda _, x: x + F.batch_norm(far(x), None, None, training=True),
}


@pytest.mark.parametrize("name", COUPLED)
def test_what_couples_samples_behind_a_far_gate_is_refused(name, tmp_path):
    with pytest.raises(InputRefused):
        load_model(save(COUPLED[name], tmp_path / "m.pt2"))


SEPARATE = {
    "dense": lambda layer, x: layer(x).relu(),
    "gate": lambda layer, x: x + far(layer(x)),
    "split": lambda layer, x: torch.cat(layer(x).chunk(3, 1)[::-1], 1),
    "normalised": lambda _, x: F.layer_norm(x, (6,)),
    "softmax": lambda _, x: x.softmax(1),
    "reshaped": lambda _, x: x.unflatten(1, (2, 3)).transpose(1, 2).flatten(1),
    "constant": lambda layer, x: x + layer.weight.sum(0),
    "in place": lambda layer, x: layer(x).relu_().mul_(2),
    "batch behind": lambda layer, x: (layer.weight @ x.T).T,
}


@pytest.mark.parametrize("name", SEPARATE)
def test_what_treats_samples_by_themselves_is_set_to_one(name, tmp_path):
    path = save(SEPARATE[name], tmp_path / "m.pt2")
    loaded = load_model(path)
    assert loaded.input_shape == (1, 6)
    assert any("fixed batch of 4" in note for note in loaded.notes)
    x = np.random.default_rng(0).standard_normal((4, 6)).astype(np.float32)
    wanted = torch.export.load(path).module()(torch.from_numpy(x)).detach().numpy()
    assert loaded.reference(x) == pytest.approx(wanted.reshape(4, -1), abs=1e-5)
