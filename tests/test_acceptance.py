"""The main job end to end, on the shipped samples."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import lipaudit

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "sample_models"
DATA = f"npz:{SAMPLES / 'mnist_test.npz'}"


@pytest.fixture(scope="module")
def lipschitz_report():
    return lipaudit.audit(
        SAMPLES / "mnist_lipschitz/model.onnx", dataset=DATA, eps=("0.5",), max_lipschitz=1.1
    )


def test_the_lipschitz_sample_is_certified(lipschitz_report):
    evidence = lipschitz_report.evidence
    assert lipschitz_report.exit_code == 0
    assert evidence.global_.upper.value <= 1.05
    assert evidence.robustness.clean_accuracy.count >= 960
    assert evidence.robustness.curve[0].certified_count >= 850


def test_the_lower_end_lies_below_the_upper_one(lipschitz_report):
    ends = lipschitz_report.evidence.global_
    assert 0 < ends.lower.value <= ends.upper.value


def test_spectral_norm_fails_by_witness_and_names_its_layers():
    report = lipaudit.audit(
        SAMPLES / "mnist_spectral_norm/model.onnx", dataset=DATA, limit=50, max_lipschitz=1
    )
    assert (report.verdict, report.exit_code) == ("fail", 1)
    over = {layer.name for layer in report.evidence.layers if (layer.lower.value or 0) > 1}
    assert over
    assert over == {f.layer for f in report.evidence.findings if f.rule == "LIP201"}


@pytest.mark.parametrize("name", ["mnist_plain", "mnist_spectral_norm"])
def test_onnx_and_safetensors_agree(name):
    folder = SAMPLES / name
    one = lipaudit.audit(folder / "model.onnx", attack=False)
    two = lipaudit.audit(folder / "model.safetensors", arch=f"{folder / 'arch.py'}:build", attack=False)
    assert two.evidence.global_.upper.value == pytest.approx(one.evidence.global_.upper.value, rel=1e-6)


def test_an_operation_without_a_bound_is_never_green(tmp_path):

    path = tmp_path / "net.py"
    path.write_text("import torch\nclass N(torch.nn.Module):\n    def __init__(self):\n"
                    "        super().__init__()\n        self.l = torch.nn.Linear(4, 3)\n"
                    "    def forward(self, x):\n        return self.l(x) ** 3\n")  # fmt: skip
    torch.save({"l.weight": torch.ones(3, 4), "l.bias": torch.zeros(3)}, tmp_path / "w.pth")
    report = lipaudit.audit(tmp_path / "w.pth", arch=f"{path}:N", input_shape=(4,))
    assert (report.verdict, report.exit_code) == ("incomplete", 3)
    assert report.evidence.global_.upper.value is None
