"""What a finding advises fits the size of what it tells of."""

from types import SimpleNamespace

import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.report.layer_findings import layer_findings
from lipaudit.report.model import Block
from lipaudit.report.number import Number


def layer(op, witnessed):
    """As `analyze.Layer`, as far as findings ask."""
    node = SimpleNamespace(name="l", op=SimpleNamespace(name=op), origin=SimpleNamespace(location=""))
    return SimpleNamespace(node=node, upper=Bound(witnessed + 1, "m"), lower=Estimate(witnessed, "w"))


@pytest.mark.parametrize(
    ("op", "witnessed", "advice"),
    [
        ("conv2d", 1.003, "normalised by its true norm"),
        ("linear", 1.9, "normalised by its true norm"),
        ("conv2d", 20.0, "train for small gains"),
        ("normalize", 20.0, "--threat-space input"),
        ("mul constant", 20.0, ""),
    ],
)
def test_layers(op, witnessed, advice):
    (finding,) = layer_findings([layer(op, witnessed)], ())
    assert finding.rule == "LIP201"
    assert advice in finding.advice
    assert bool(advice) == bool(finding.advice)
    assert ("true norm" in finding.advice) == ("true norm" in advice)


@pytest.mark.parametrize(
    ("upper", "advice"),
    [
        (1.00000001, "or of the proof itself"),
        (1.0000003, "rounding of weights"),
        (1.004, "a wrong normalisation"),
        (20.0, "train for small gains"),
        (None, "train for small gains"),
    ],
)
def test_parts(upper, advice):
    bound = Bound.unbounded("why") if upper is None else Bound(upper, "m")
    block = Block(
        source="a",
        end="b",
        layers=("b",),
        rule="averaged",
        upper=Number.from_bound(bound),
        plain=sample.conv(1).upper,
    )
    (finding,) = layer_findings([], [block])
    assert finding.rule == "LIP203"
    assert advice in finding.advice
