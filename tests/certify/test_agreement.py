"""Predictions are held against the original program, sample by sample."""

import numpy as np
import pytest
import torch

import lipaudit
from lipaudit.certify.agreement import check_answers
from lipaudit.certify.dataset import Certification
from lipaudit.certify.radius import Radii
from lipaudit.data import Dataset
from lipaudit.errors import ConversionMismatch, Incomplete
from lipaudit.graph.graph import INPUT, LayerGraph

ENTRANCE = LayerGraph((1, 2), (), INPUT)


def dataset(images):
    n = len(images)
    return Dataset(
        name="t",
        images=torch.tensor(images, dtype=torch.float64),
        labels=torch.zeros(n, dtype=torch.int64),
        indices=torch.arange(n) + 7,
        total=n,
        space="the file's own units",
        fingerprint_sha256="0" * 64,
        official=None,
    )


def predicted(classes, finite=None):
    answers = torch.tensor(classes)
    ones = torch.ones(len(classes))
    good = torch.ones(len(classes), dtype=torch.bool) if finite is None else torch.tensor(finite)
    data = torch.arange(len(classes)) + 7
    return Certification(data, answers, Radii(answers, ones, ones, good, good, ~good, ones), "test")


def test_equal_answers_pass_and_ties_within_rounding_too():
    data = dataset([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0 + 1e-9]])
    check_answers(
        predicted([1, 0, 0]), data, ENTRANCE, lambda x: np.pad(x, ((0, 0), (0, 1)), constant_values=-5.0)
    )


def test_another_answer_names_the_sample():
    data = dataset([[0.0, 1.0], [1.0, 0.0]])
    with pytest.raises(ConversionMismatch, match=r"sample 8: the analysed graph answers class 1, .* class 0"):
        check_answers(predicted([1, 1]), data, ENTRANCE, lambda x: x)


def test_what_is_not_finite_here_is_a_finding_and_there_a_mismatch():
    data = dataset([[0.0, 1.0]])
    check_answers(predicted([1], finite=[False]), data, ENTRANCE, lambda x: x * np.nan)
    with pytest.raises(ConversionMismatch, match="NaN"):
        check_answers(predicted([1]), data, ENTRANCE, lambda x: x * np.nan)


@pytest.mark.parametrize(("middle", "answer"), [(0.0, 1), (0.5, 0)])
def test_a_single_score_is_parted_in_the_middle(middle, answer):
    data = dataset([[0.3, 0.0]])
    check_answers(predicted([answer]), data, ENTRANCE, lambda x: x[0, :1], middle)
    with pytest.raises(ConversionMismatch):
        check_answers(predicted([1 - answer]), data, ENTRANCE, lambda x: x[0, :1], middle)


ARCHITECTURE = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.last = nn.Linear(4, 3)

    def forward(self, x):
        return HEAD(self.last(x) * FACTOR)


def build():
    return Net()
"""


@pytest.mark.parametrize(
    ("head", "factor", "fine"),
    [
        ("torch.nn.functional.relu", "1", True),
        ("(lambda z: torch.softmax(z, -1))", "1", True),
        ("", "(1 if torch.compiler.is_exporting() else -1)", False),
    ],
)
def test_a_module_that_notices_its_export_is_refused(tmp_path, head, factor, fine):
    from safetensors.torch import save_file  # noqa: PLC0415

    (tmp_path / "net.py").write_text(ARCHITECTURE.replace("HEAD", head).replace("FACTOR", factor))
    torch.manual_seed(0)
    save_file(
        dict(torch.nn.ModuleDict({"last": torch.nn.Linear(4, 3)}).state_dict()), tmp_path / "w.safetensors"
    )
    np.savez(tmp_path / "d.npz", images=np.random.default_rng(0).random((20, 4)), labels=np.arange(20) % 3)
    arguments = {"arch": f"{tmp_path / 'net.py'}:build", "dataset": f"npz:{tmp_path / 'd.npz'}"}
    if fine:
        assert lipaudit.audit(tmp_path / "w.safetensors", **arguments).evidence.robustness is not None
    else:
        with pytest.raises(ConversionMismatch, match="the PyTorch module"):
            lipaudit.audit(tmp_path / "w.safetensors", **arguments)


@pytest.mark.parametrize(
    ("head", "fine"),
    [
        ("torch.sigmoid", True),
        ("", True),
        ("torch.nn.functional.hardsigmoid", False),
        ("2 * torch.sigmoid", False),
    ],
)
def test_a_single_output_must_be_a_score_of_either_sign(tmp_path, head, fine):
    from safetensors.torch import save_file  # noqa: PLC0415

    code = (
        ARCHITECTURE.replace("HEAD", head)
        .replace("FACTOR", "1")
        .replace("nn.Linear(4, 3)", "nn.Linear(4, 1)")
    )
    (tmp_path / "net.py").write_text(code)
    torch.manual_seed(0)
    last = torch.nn.Linear(4, 1)
    save_file(dict(torch.nn.ModuleDict({"last": last}).state_dict()), tmp_path / "w.safetensors")
    images = np.random.default_rng(0).normal(size=(40, 4))
    scores = last(torch.tensor(images).float()).detach().numpy()[:, 0]
    np.savez(tmp_path / "d.npz", images=images, labels=(scores > 0).astype(np.int64))
    arguments = {"arch": f"{tmp_path / 'net.py'}:build", "dataset": f"npz:{tmp_path / 'd.npz'}"}
    if fine:
        record = lipaudit.audit(tmp_path / "w.safetensors", **arguments).evidence.robustness
        assert record.clean_accuracy.count == 40
    else:
        with pytest.raises(Incomplete, match="single output ends in"):
            lipaudit.audit(tmp_path / "w.safetensors", **arguments)
