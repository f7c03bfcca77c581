"""Tensors of file and architecture correspond one to one and arrive unchanged; else the message helps."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from lipaudit.errors import InputRefused
from lipaudit.load.filling import fill


def network(width=3):
    return nn.Sequential(nn.Linear(4, width), nn.ReLU(), nn.Linear(width, 2)).eval()


def filled(state, module=None, hint=""):
    notes = []
    return fill(network() if module is None else module, state, "w.pth", notes, hint), notes


def holds(module, state):
    return all(torch.equal(module.state_dict()[key], value) for key, value in state.items())


WRAPPED = {
    "plain": ("", 0),
    "module.": ("module.", 1),
    "model.backbone.": ("model.backbone.", 1),
    "anything.at.all.": ("anything.at.all.", 1),
}


@pytest.mark.parametrize("prefix", WRAPPED)
def test_prefixes_are_removed(prefix):
    state = network().state_dict()
    text, count = WRAPPED[prefix]
    module, notes = filled({f"{text}{key}": value for key, value in state.items()})
    assert holds(module, state)
    assert len(notes) == count
    assert all(repr(text) in note for note in notes)


def test_marks_of_compile_are_removed_anywhere():
    state = network().state_dict()
    module, notes = filled({key.replace("0.", "0._orig_mod."): value for key, value in state.items()})
    assert holds(module, state)
    assert "_orig_mod." in notes[0]


def test_a_part_of_a_larger_file_is_taken_and_said():
    state = network().state_dict()
    larger = {f"model.{key}": value for key, value in state.items()} | {"loss.weight": torch.ones(2)}
    module, notes = filled(larger)
    assert holds(module, state)
    assert notes == ["the tensors under 'model.' were taken, 1 others were not (loss.weight)"]


@pytest.mark.parametrize("average", ["ema.module.", "model_ema.", "teacher.model."])
def test_weights_come_before_their_averages(average):
    state, other = network().state_dict(), network().state_dict()
    both = {f"{average}{key}": value for key, value in other.items()} | {
        f"net.model.{key}": value for key, value in state.items()
    }
    module, (note,) = filled(both)
    assert holds(module, state)
    assert "under 'net.model.' were taken" in note
    assert f"the same network stands under '{average}'" in note
    alone, (note,) = filled({key: value for key, value in both.items() if key.startswith(average)})
    assert holds(alone, other)
    assert average in note


def test_what_is_missing_and_what_it_may_be_called():
    state = dict(network().state_dict())
    state["first.weight"] = state.pop("0.weight")
    state["extra"] = torch.ones(7)
    del state["2.bias"]
    with pytest.raises(InputRefused) as caught:
        filled(state)
    for words in ("missing 0.weight [3, 4] (as first.weight?), 2.bias [2]", "unexpected first.weight [3, 4]"):
        assert words in caught.value.message
    assert "extra [7]" in caught.value.message
    assert "trained with" in caught.value.hint


def test_other_sizes_ask_for_an_argument():
    with pytest.raises(InputRefused) as caught:
        filled(network(5).state_dict(), hint="make takes width")
    assert "0.weight is [5, 4] in the file and [3, 4] in the architecture" in caught.value.message
    assert caught.value.hint == "make takes width"


def test_long_lists_are_counted():
    with pytest.raises(InputRefused, match="and 14 more"):
        filled({f"x{i}": torch.ones(1) for i in range(20)})


class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.two = nn.Linear(3, 3), nn.Linear(3, 3)
        self.two.weight = self.one.weight

    def forward(self, x):
        return self.two(self.one(x))


def test_tied_tensors_may_be_stored_once():
    state = dict(Tied().state_dict())
    del state["two.weight"]
    module, (note,) = filled(state, Tied())
    assert torch.equal(module.two.weight, state["one.weight"])
    assert "two.weight is stored as one.weight" in note


def test_tied_tensors_must_agree():
    state = dict(Tied().state_dict())
    state["two.weight"] = state["two.weight"] + 1
    with pytest.raises(InputRefused, match=r"one\.weight and two\.weight are one tensor in the architecture"):
        filled(state, Tied())


class Stubborn(nn.Linear):
    def _load_from_state_dict(self, state_dict, prefix, *rest):
        state_dict[f"{prefix}weight"] = state_dict[f"{prefix}weight"] * 2
        super()._load_from_state_dict(state_dict, prefix, *rest)


class Deaf(nn.Linear):
    def load_state_dict(self, *_, **__):
        return None


@pytest.mark.parametrize("kind", [Stubborn, Deaf])
def test_weights_must_arrive(kind):
    torch.manual_seed(0)
    with pytest.raises(InputRefused, match="changes tensors while it loads them: weight"):
        filled(nn.Linear(3, 2).state_dict(), kind(3, 2))


def test_types_are_kept_or_widened():
    state = {key: value.double() / 3 for key, value in network().state_dict().items()}
    assert holds(filled(state)[0], state)
    half = {key: value.half() for key, value in network().state_dict().items()}
    module, (note,) = filled(half)
    assert holds(module, {key: value.float() for key, value in half.items()})
    assert "widened" in note


def parametrised(*layers):
    return nn.Sequential(parametrizations.weight_norm(nn.Linear(4, 3)), *layers).eval()


def test_frozen_and_parametrised_files_under_a_prefix():
    source = parametrised()
    weight = source[0].weight.detach().clone()
    states = (source.state_dict(), {"0.weight": weight, "0.bias": source[0].bias.detach()})
    for state in states:
        module, _ = filled({f"model.{key}": value for key, value in state.items()}, parametrised())
        assert torch.equal(module[0].weight, weight)
        assert "parametrizations" not in dict(module[0].named_modules())


def test_two_different_networks_of_one_architecture_are_refused():
    one, other = network().state_dict(), {k: 100 * v for k, v in network().state_dict().items()}
    both = {f"generator.{k}": v for k, v in one.items()} | {f"discriminator.{k}": v for k, v in other.items()}
    with pytest.raises(
        InputRefused, match=r"under 'generator\.' and under 'discriminator\.', with other weights"
    ):
        filled(both)
    same = {f"a.{k}": v for k, v in one.items()} | {f"module_b.{k}": v for k, v in one.items()}
    assert holds(filled(same)[0], one)


def test_state_that_is_no_tensor_is_refused():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"t": 9.0}

        def set_extra_state(self, state):
            pass

    with pytest.raises(InputRefused, match="state that is no tensor"):
        filled(nn.Linear(4, 3).state_dict(), nn.Sequential(Extra(4, 3)))
