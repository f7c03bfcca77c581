"""Every activation that potential blocks allow is known by every way of exporting them."""

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from lipaudit.layers import CPLLinear, freeze
from lipaudit.layers.potential import MONOTONE
from lipaudit.pipeline import audit

NETWORK = """
import torch
from torch import nn
from lipaudit.layers import CPLLinear, structure
from lipaudit.layers.potential import MONOTONE

def make():
    layers = [CPLLinear(4, 4, activation=kind()) for kind in MONOTONE]
    return structure(nn.Sequential(*layers), torch.zeros(1, 4))
"""


def network():
    """A block for each activation."""
    torch.manual_seed(0)
    return freeze(
        nn.Sequential(*(CPLLinear(4, 4, activation=kind()) for kind in MONOTONE)), torch.zeros(1, 4)
    )


def to_onnx(folder):
    path = folder / "net.onnx"
    options = {"dynamo": True, "external_data": False, "verbose": False}
    torch.onnx.export(network(), (torch.zeros(1, 4),), path, **options)
    return path, None


def to_older_onnx(folder):
    path = folder / "net.onnx"
    torch.onnx.export(network(), (torch.zeros(1, 4),), path, dynamo=False)
    return path, None


def to_archive(folder):
    path = folder / "net.pt2"
    torch.export.save(torch.export.export(network(), (torch.zeros(1, 4),)), path)
    return path, None


def to_weights(folder):
    (folder / "net.py").write_text(NETWORK)
    save_file(network().state_dict(), folder / "net.safetensors")
    return folder / "net.safetensors", f"{folder / 'net.py'}:make"


@pytest.mark.parametrize("export", [to_onnx, to_older_onnx, to_archive, to_weights])
@pytest.mark.filterwarnings("ignore")  # the older exporter's own
def test_every_activation_is_known_by_every_export(tmp_path, export):
    path, arch = export(tmp_path)
    report = audit(path, arch=arch, input_shape=(4,), dataset="none", attack=False, max_lipschitz="1.0000001")
    blocks = report.evidence.blocks
    found = {kind: block.upper.value for kind, block in zip(MONOTONE, blocks, strict=True)}
    # ONNX stores the slope of this one, 1/6 in float32: factors that are folded and round.
    assert found.pop(nn.Hardsigmoid) <= 1 + 1e-8
    assert set(found.values()) == {1.0}
    assert {block.rule for block in blocks} == {"convex potential"}
    assert report.exit_code == 0
