"""Numbers in words: uselessness is said, and every next step follows from the report."""

import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.report.advice import costliest, next_steps, remarks
from lipaudit.report.inputs import AssumptionRecord
from lipaudit.report.judgement import BaselineRecord, LayerOutcome
from lipaudit.report.model import Block, NetworkBracket
from lipaudit.report.number import Number, Unbounded


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


# What is advised for budgets that are not met


def advised(outcome="fail", message="", verdict=None, **changes):
    budget = sample.budget(outcome).model_copy(update={"message": message} if message else {})
    return words(next_steps(sample.report(verdict or outcome, **({"budgets": (budget,)} | changes))))


def layer(name, op, value):
    return sample.conv(0).model_copy(update={"name": name, "op": op, "upper": Number.from_bound(value)})


def test_only_layers_that_amplify_and_have_weights_are_to_be_retrained():
    layers = (
        layer("Reshape_7", "reshape", 1.0),
        layer("sum", "add", 9.0),
        layer("norm", "batch_norm", 4.0),
        layer("dense", "linear", 3.0),
        layer("orthogonal", "conv2d", 1.0000003),
    )
    found = advised(layers=layers)
    assert "Retrain or rescale what amplifies most: norm (≤ 4), dense (≤ 3)." in found
    assert not any(name in found for name in ("Reshape_7", "sum", "orthogonal"))


def test_operations_without_weights_are_to_be_replaced():
    layers = (layer("normalize", "normalize", 8.0), layer("sum", "add", 9.0), layer("c", "conv2d", 1.0))
    found = advised(layers=layers)
    assert "No layer with weights amplifies; replace or rescale the operations that do: sum (≤ 9)." in found
    assert "Retrain" not in found
    found = advised(layers=layers[2:])
    assert "No layer amplifies: scale the outputs down, or allow more." in found


def test_blocks_that_do_not_amplify_are_no_offenders():
    one = Block(
        source="a",
        end="b",
        layers=("conv0", "conv1", "conv2", "conv3"),
        rule="semidefinite",
        upper=Number.from_bound(1.0),
        plain=Number.from_bound(9.0),
    )
    assert "Retrain" not in advised(blocks=(one,))
    assert "a → b (≤ 2)" in advised(blocks=(one.model_copy(update={"upper": Number.from_bound(2.0)}),))


def test_the_preprocessing_is_no_layers_fault():
    found = advised()
    assert "a factor of up to 3.246 is the preprocessing (scale/std)" in found
    how = sample.evidence().preprocessing
    for changes in (
        {"std": ("1",)},
        {"std": ("2.5",)},
        {"std": ("0",)},
        {"threat_space": "the model's own input"},
        {"std": ("1e-300",), "scale": "1e300"},
    ):
        assert "the preprocessing" not in advised(preprocessing=how.model_copy(update=changes))


def test_single_layers_are_named_by_their_budget():
    row = LayerOutcome(layer="conv1", outcome="fail", upper=3.0)
    budget = sample.budget("fail").model_copy(update={"layers": (row,)})
    found = advised(budgets=(budget,))
    assert "Retrain or rescale the layers that exceed their budget" in found
    assert "conv3" not in found


@pytest.mark.parametrize("outcome", ["fail", "inconclusive"])
def test_a_ratchet_is_explained_by_a_diff(outcome):
    record = BaselineRecord(name="base\x1b.json", evidence_sha256=sample.DIGEST, value=10.0)
    budget = sample.budget(outcome).model_copy(update={"baseline": record})
    assert r"`lipaudit diff base\x1b.json REPORT`" in advised(outcome, budgets=(budget,))
    waived = budget.model_copy(update={"waived": True})
    assert "lipaudit diff" not in advised("pass", budgets=(waived,))


def test_a_ratchet_without_a_baseline_needs_no_tighter_bound():
    budget = sample.budget("inconclusive").model_copy(update={"limit": "2% above base.json"})
    found = advised("inconclusive", budgets=(budget,))
    assert "`lipaudit baseline update REPORT`" in found
    assert "tighter bound" not in found


UNITS = [
    (
        "pixel [0,1]",
        "the model's own input",
        'audit with --threat-space input, or write threat_space = "pixel"',
    ),
    ("pixel [0,1]", "the file's own units", 'audit samples in those units, or write threat_space = "pixel"'),
    (
        "the model's own input",
        "pixel [0,1]",
        'with the preprocessing stated, or write threat_space = "input"',
    ),
    (
        "the file's own units",
        "pixel [0,1]",
        'store the samples as uint8 or in [0,1], or write threat_space = "file"',
    ),
]


@pytest.mark.parametrize(("space", "meant", "said"), UNITS)
def test_a_budget_in_another_unit_needs_a_word_and_no_tighter_bound(space, meant, said):
    how = sample.evidence().preprocessing.model_copy(update={"threat_space": space})
    message = f"at most 3 proved; distances are in {space}, the budget is meant in {meant}"
    found = advised("inconclusive", message, preprocessing=how)
    assert said in found
    assert "tighter bound" not in found


def test_what_is_a_guess_needs_no_tighter_bound():
    guess = sample.finding("error").model_copy(update={"rule": "LIP306"})
    assert "tighter bound" in advised("inconclusive")
    assert "tighter bound" not in advised("inconclusive", verdict="incomplete", findings=(guess,))


@pytest.mark.parametrize("rule", ["LIP301", "LIP302"])
def test_of_worthless_numbers_nothing_is_said_but_what_made_them_so(rule):
    finding = sample.finding("error").model_copy(update={"rule": rule})
    (step,) = next_steps(sample.report("incomplete", findings=(finding,)))
    assert step == f"Mend what {rule} tells, then audit again: the numbers say nothing yet."


@pytest.mark.parametrize(
    ("shape", "classes", "said"),
    [
        ((1, 28, 28), 10, "--dataset mnist, or npz"),
        ((784,), 10, "--dataset mnist, or npz"),
        ((3, 32, 32), 100, "--dataset cifar100, or npz"),
        ((3, 224, 224), 1000, "--dataset npz:FILE, your"),
        ((3, 32, 32), None, ""),
    ],
)
def test_data_that_the_network_could_take_are_named(shape, classes, said):
    report = sample.report(dataset=None, robustness=None)
    model = report.evidence.model.model_copy(update={"input_shape": shape, "num_classes": classes})
    evidence = report.evidence.model_copy(update={"model": model})
    found = words(next_steps(report.model_copy(update={"evidence": evidence})))
    assert said in found
    assert ("Certify radii" in found) == bool(said)


BUDGETS = (sample.budget(),)


def assumed(*findings, budgets=BUDGETS):
    found = AssumptionRecord(
        convention="MNIST",
        correct=96,
        samples=100,
        runner_up="pixels",
        runner_up_correct=10,
        runner_up_samples=100,
        clear=True,
        plausible=True,
    )
    how = sample.evidence().preprocessing.model_copy(update={"assumption": found, "source": "default"})
    return sample.report(preprocessing=how, findings=findings, budgets=budgets)


def test_an_assumed_preprocessing_is_to_be_stated():
    report = assumed()
    assert "judged by a preprocessing that nobody stated" in words(remarks(report))
    assert next_steps(report) == (
        "State the preprocessing that was assumed: --mean 0.1307 --std 0.3081 --layout chw",
    )
    assert remarks(assumed(budgets=())) == ()
    assert "--mean 0.1307" in words(next_steps(assumed(budgets=())))


def test_an_assumption_that_a_finding_tells_is_not_told_twice():
    told = sample.finding().model_copy(update={"rule": "LIP305"})
    assert (remarks(assumed(told)), next_steps(assumed(told))) == ((), ())


def test_a_limit_of_zero_is_not_trained_for():
    zero = sample.budget("fail").model_copy(update={"limit": "0"})
    (step,) = next_steps(sample.report("fail", budgets=(zero,)))
    assert step.startswith("Only a network whose output is constant")
