"""A network of ordinary size through the real command: ResNet-18 at 224×224, random weights.

What is gated is memory and how tight each convolution is; times depend on the machine and are not.
"""

from __future__ import annotations

import contextlib
import io
import json
import subprocess
import sys

import pytest
import torch
import torchvision
from safetensors.torch import save_file

LARGEST_MEMORY = 4 * 2**30
LARGEST_SLACK = 1.03
ARCHITECTURE = """\
import torchvision


def build():
    return torchvision.models.resnet18(weights=None)
"""


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return torchvision.models.resnet18(weights=None).eval()


def exported(network, folder):
    path = folder / "resnet18.onnx"
    with contextlib.redirect_stdout(io.StringIO()):
        torch.onnx.export(network, (torch.zeros(1, 3, 224, 224),), str(path), dynamo=True)
    return [path]


def stored(network, folder):
    path, code = folder / "resnet18.safetensors", folder / "architecture.py"
    save_file(network.state_dict(), path)
    code.write_text(ARCHITECTURE, encoding="utf-8")
    return [path, "--arch", f"{code}:build", "--input-shape", "3,224,224"]


MEASURE = """\
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
"""Between the test and the command: a process's largest memory starts with its parent's at the fork, and the
test's own may be large."""


def audited(arguments, folder):
    """The report of the command, and the largest memory one of its processes ever had, in bytes."""
    target, memory = folder / "report.json", folder / "memory"
    command = [sys.executable, "-m", "lipaudit", *map(str, arguments), "-d", "none", "-q", "-o", str(target)]
    measured = [sys.executable, "-c", MEASURE, str(memory), *command]
    done = subprocess.run(measured, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    kilobytes = int(memory.read_text(encoding="utf-8")) / (1024 if sys.platform == "darwin" else 1)
    return json.loads(target.read_text(encoding="utf-8")), kilobytes * 1024


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(sys.platform == "win32", reason="memory is measured by a module that Windows lacks")
@pytest.mark.parametrize("form", [exported, stored])
def test_resnet18(network, form, tmp_path):
    report, memory = audited(form(network, tmp_path), tmp_path)
    assert memory < LARGEST_MEMORY
    convolutions = [layer for layer in report["evidence"]["layers"] if layer["op"] == "conv2d"]
    assert len(convolutions) == 20
    loose = {layer["name"]: layer["slack"] for layer in convolutions if not layer["slack"] < LARGEST_SLACK}
    assert loose == {}
    ends = report["evidence"]["global"]
    assert ends["upper"]["status"] == "proved"
    assert 0 < ends["lower"]["value"] < ends["upper"]["value"]
