"""`--arch 'file.py:factory{"width": 64}'`: arguments as JSON, checked before anything is built."""

import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lipaudit
from lipaudit.cli import main
from lipaudit.errors import InputRefused, UsageError
from lipaudit.load.architecture import build_module

ARCH = """
from torch import nn

def make(width=3, *, bias=True, name="a:b{c}"):
    return nn.Sequential(nn.Linear(4, width, bias=bias), nn.ReLU(), nn.Linear(width, 2))

def needs(width):
    return make(width)

def fixed():
    return make()

def several(widths, extra=None):
    widths.append(2)
    return nn.Sequential(*(nn.Linear(4, n) for n in widths))
"""


@pytest.fixture
def arch(tmp_path):
    (tmp_path / "net.py").write_text(ARCH)
    return f"{tmp_path}/net.py"


def test_arguments_reach_the_factory(arch):
    built = build_module(f'{arch}:make{{"width": 5, "bias": false}}')
    assert built.module[0].weight.shape == (5, 4)
    assert built.module[0].bias is None
    assert built.label == 'net.py:make{"bias": false, "width": 5}'
    assert build_module(f"{arch}:make").label == "net.py:make"
    assert build_module(f"{arch}:make{{}}").label == "net.py:make"


def test_arguments_may_hold_anything_json_has(arch):
    assert build_module(f'{arch}:make{{"name": "x.py:other{{\\"y\\": 1}}"}}').label.startswith("net.py:make{")
    text = f'{arch}:several{{"widths": [1, 2], "extra": {{"a": null}}}}'
    assert len(build_module(text).module) == len(build_module(text, seed=1).module) == 3


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ('{"width": }', "Expecting value at character {} of what was given, before '}}'"),
        ("{'width': 3}", "property name"),
        ('{"width": 3', "Expecting ',' delimiter"),
        ('{"width": 3} x', "Extra data"),
        ('{"width": 1, "width": 2}', "'width' of make is given twice"),
        ('{"width": NaN}', "NaN among the arguments"),
        ('{"width": Infinity}', "Infinity among the arguments"),
        ('{"widht": 3}', "unexpected keyword argument 'widht'"),
        ('{"width": ' + "1" * 5000 + "}", "arguments of make"),
        ('{"width": ' + "[" * 100000 + "}", "arguments of make"),
    ],
)
def test_wrong_arguments_are_usage_errors(arguments, says, arch):
    with pytest.raises(UsageError) as caught:
        build_module(f"{arch}:make{arguments}")
    assert says.format(len(f"{arch}:make") + 11) in caught.value.message
    assert "--arch" in caught.value.hint


def test_a_factory_that_needs_arguments_says_which(arch):
    with pytest.raises(UsageError, match=r"needs\(width\) cannot be called so: missing .* 'width'") as caught:
        build_module(f"{arch}:needs")
    assert ':needs{"name": value}' in caught.value.hint


def test_a_factory_may_still_fail(arch):
    with pytest.raises(InputRefused, match=r"make\(width='x'\) raised TypeError"):
        build_module(f'{arch}:make{{"width": "x"}}')


@pytest.mark.parametrize(
    ("factory", "hint"),
    [("make", "make takes width, bias, name; say which as JSON"), ("fixed", "let fixed take the width")],
)
def test_other_sizes_lead_to_the_argument(factory, hint, arch, tmp_path):
    save_file(wide().state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputRefused, match=r"0\.weight is \[7, 4\] in the file") as caught:
        lipaudit.load_model(tmp_path / "w.safetensors", arch=f"{arch}:{factory}", input_shape=(4,))
    assert hint in caught.value.hint


def wide():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 7), nn.ReLU(), nn.Linear(7, 2))


def test_the_report_states_the_arguments(arch, tmp_path, capsys):
    save_file(wide().state_dict(), tmp_path / "w.safetensors")
    command = [str(tmp_path / "w.safetensors"), "--arch", f'{arch}:make{{"width": 7}}', "--input-shape", "4"]
    assert main([*command, "--no-attack", "-o", "json=-"]) == 0
    model = json.loads(capsys.readouterr().out)["evidence"]["model"]
    assert model["architecture"] == 'net.py:make{"width": 7}'
    assert [file["name"] for file in model["files"]] == ["w.safetensors", "net.py"]


def test_json_errors_end_with_usage(arch, tmp_path, capsys):
    save_file(wide().state_dict(), tmp_path / "w.safetensors")
    command = [str(tmp_path / "w.safetensors"), "--input-shape", "4", "--arch"]
    assert main([*command, f"{arch}:make{{'width': 7}}"]) == 2
    assert "at character" in capsys.readouterr().err
