"""Numbers in words: uselessness is said, and every next step follows from the report."""

import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.report.advice import costliest, next_steps, remarks
from lipaudit.report.model import NetworkBracket
from lipaudit.report.number import Unbounded


def words(lines):
    return " ".join(lines)


def test_a_good_report_needs_no_words():
    report = sample.report(budgets=(sample.budget(),))
    assert remarks(report) == ()
    assert next_steps(report) == ()


def test_an_unbounded_network_certifies_nothing():
    unbounded = NetworkBracket.of(Bound.unbounded("why"), Estimate(1.0, "ascent"))
    assert words(remarks(sample.report("incomplete", global_=unbounded))).startswith("No finite bound")


@pytest.mark.parametrize(("slack", "said"), [(99.0, False), (100.0, True), (1e12, True)])
def test_a_loose_bound_is_called_loose(slack, said):
    bracket = NetworkBracket.of(Bound(slack, "product"), Estimate(1.0, "ascent"))
    assert ("times the largest ratio" in words(remarks(sample.report(global_=bracket)))) == said


@pytest.mark.parametrize(
    ("median", "certified", "said"),
    [
        (0.0039, 0, "less than one grey level"),
        (0.0, 5, "Median certified radius 0:"),
        (0.004, 0, "No sample is certified at any asked radius"),
        (0.004, 1, ""),
        (Unbounded(), 0, ""),
        (None, 0, ""),
    ],
)
def test_tiny_radii_are_called_tiny(median, certified, said):
    radii = sample.robustness(median_radius=median, curve=(sample.point("1/2", certified),))
    found = words(remarks(sample.report(robustness=radii)))
    assert said in found
    assert bool(said) == bool(found)


def test_grey_levels_are_of_pixels_only():
    report = sample.report(robustness=sample.robustness(median_radius=0.001, curve=(sample.point("1", 0),)))
    space = report.evidence.preprocessing.model_copy(update={"threat_space": "the file's own units"})
    other = sample.report(
        robustness=sample.robustness(median_radius=0.001, curve=(sample.point("1", 0),)), preprocessing=space
    )
    assert "grey level" in words(remarks(report))
    assert "grey level" not in words(remarks(other))


def test_layers_without_a_bound_are_named_with_their_reason():
    layers = tuple(sample.unknown(f"layer{k}") for k in range(5))
    steps = next_steps(sample.report("incomplete", layers=layers))
    assert "layer0 (aten.foo.default), which has no bound: no rule for aten.foo.default" in steps[0]
    assert steps[3] == "… and 2 more without a bound"
    assert "layer4" not in words(steps)


def test_training_is_advised_where_nothing_is_certified():
    radii = sample.robustness(curve=(sample.point("36/255", 999), sample.point("1", 0)))
    assert "Train for small gains" in words(next_steps(sample.report(robustness=radii)))
    radii = sample.robustness(curve=(sample.point("36/255", 1000), sample.point("1", 0)))
    assert "Train for small gains" not in words(next_steps(sample.report(robustness=radii)))
    assert "Train for small gains" not in words(
        next_steps(sample.report(robustness=sample.robustness(curve=())))
    )


def test_costliest_layers_lead():
    layers = (sample.conv(1), sample.unknown(), sample.conv(3), sample.conv(2))
    ordered = costliest(sample.report("incomplete", layers=layers).evidence)
    assert [layer.name for layer in ordered] == ["features.3", "conv3", "conv2", "conv1"]
