"""Reports with radii of second order: accepted as written, refused where they claim more than that."""

import copy

import numpy as np
import pytest
import torch
from attested import EVERY_SAMPLE, Attested, sealed_again
from torch import nn

from lipaudit.errors import ExitCode
from lipaudit.pipeline import audit


@pytest.fixture(scope="module")
def smooth(tmp_path_factory):
    torch.manual_seed(3)
    module = nn.Sequential(nn.Linear(6, 12), nn.Softplus(), nn.Linear(12, 3)).eval()
    points = torch.rand(30, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        module[2].bias -= module(points).mean(0)
        labels = module(points).argmax(1)
    labels[::7] = (labels[::7] + 1) % 3
    return attested(tmp_path_factory.mktemp("smooth"), module, points, labels)


def attested(folder, module, points, labels):
    model, images = folder / "model.pt2", folder / "images.npz"
    torch.export.save(torch.export.export(module, (torch.zeros(1, 6),)), model)
    np.savez(images, images=points.numpy(), labels=labels.numpy())
    report = audit(model, dataset=f"npz:{images}", eps=("0.01", "0.2"), scale=1, device="cpu", attack=False)
    return Attested(model, images, report)


@pytest.fixture(scope="module")
def twins(tmp_path_factory):
    """Two pairs of classes with nearly the same scores: the constant of a pair tells nothing of others."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(6, 12), nn.Softplus(), nn.Linear(12, 4)).eval()
    with torch.no_grad():
        module[0].weight *= 3
        module[2].weight[1::2] = module[2].weight[::2] * 1.01
        module[2].bias[1::2] = module[2].bias[::2] - 5
    points = torch.rand(30, 6, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        labels = module(points).argmax(1)
    return attested(tmp_path_factory.mktemp("twins"), module, points, labels)


@pytest.fixture(scope="module")
def steep(tmp_path_factory):
    """One unit, far out as good as linear: of some samples curvature proves no more than margins do."""
    module = nn.Sequential(nn.Linear(6, 1), nn.Softplus(), nn.Linear(1, 3)).eval()
    with torch.no_grad():
        module[0].weight.fill_(1.0)
        module[0].bias.fill_(-3.0)
        module[2].weight.copy_(torch.tensor([[1.0], [2.0], [-1.0]]))
        module[2].bias.copy_(torch.tensor([0.0, -60.0, 1.5]))
    points = torch.rand(30, 6, generator=torch.Generator().manual_seed(2))
    points[::3] *= 25
    with torch.no_grad():
        labels = module(points).argmax(1)
    return attested(tmp_path_factory.mktemp("steep"), module, points, labels)


def curved(document):
    """The samples whose radius rests on curvature, as rows of the document."""
    robustness = document["evidence"]["robustness"]
    indices = set(robustness["curvature"]["indices"])
    return [row for row in robustness["samples"] if row["index"] in indices]


def edited(net, change):
    document = copy.deepcopy(net.document)
    change(document)
    robustness = document["evidence"]["robustness"]
    radii = [row["radius"] for row in robustness["samples"]]
    for point in robustness["curve"]:
        point["certified_count"] = sum(radius > point["eps"] for radius in radii)
    robustness["median_radius"] = sorted(radii)[(len(radii) - 1) // 2]
    return sealed_again(document)


def test_the_report_tells_what_its_radii_rest_on_and_is_accepted(smooth):
    found = smooth.report.evidence.robustness
    assert found.curvature.activation == "softplus"
    assert found.curvature.units == 12
    correct = {row.index for row in found.samples if row.correct}
    assert set(found.curvature.indices) <= correct
    assert len(found.curvature.indices) > 10
    for again in (None, EVERY_SAMPLE):
        result = smooth.check(smooth.report, again)
        assert not result.differences
        assert result.exit_code is ExitCode.PASS
    assert any("curvature" in line for line in result.proved)
    assert any("1 block and the network's bound" in line for line in result.proved)


def test_radii_are_evaluated_again(smooth):
    def larger(document):
        for row in curved(document):
            row["radius"] *= 1.00001

    assert smooth.check(edited(smooth, larger), EVERY_SAMPLE).exit_code is ExitCode.REFUSED


def test_without_the_data_no_radius_exceeds_what_curvature_allows_without_a_slope(smooth):
    def more(document):
        for row in curved(document):
            row["radius"] += 20.0

    result = smooth.check(edited(smooth, more))
    assert result.exit_code is ExitCode.REFUSED
    assert any("margin allows" in difference.proved for difference in result.differences)


def test_a_radius_that_is_not_said_to_rest_on_curvature_must_follow_from_its_margin(smooth):
    def silent(document):
        document["evidence"]["robustness"]["curvature"] |= {"indices": [], "by_margins": []}

    result = smooth.check(edited(smooth, silent))
    assert result.exit_code is ExitCode.REFUSED


def test_a_report_without_curvature_whose_radii_follow_from_margins_is_accepted(smooth):
    def plain(document):
        for row in curved(document):
            row["radius"] = 1e-3 * row["margin"]
        document["evidence"]["robustness"]["curvature"] = None

    assert not smooth.check(edited(smooth, plain), EVERY_SAMPLE).differences


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("layer", "another"),
        ("activation", "tanh"),
        ("units", 13),
        ("norm", {"value": 0.5, "hex": (0.5).hex(), "status": "proved"}),
        ("largest", {"value": 1e-6, "hex": (1e-6).hex(), "status": "proved"}),
        ("indices", [999]),
    ],
)
def test_what_is_said_of_the_curvature_is_proved_again(smooth, field, value):
    def wrong(document):
        document["evidence"]["robustness"]["curvature"] |= {"by_margins": None, field: value}

    assert smooth.check(edited(smooth, wrong)).exit_code is ExitCode.REFUSED


@pytest.mark.slow
def test_curvature_cannot_be_claimed_of_a_network_that_has_none(smooth, dense):
    document = copy.deepcopy(dense.document)
    told = copy.deepcopy(smooth.document["evidence"]["robustness"]["curvature"])
    told |= {"indices": [], "by_margins": []}
    document["evidence"]["robustness"]["curvature"] = told
    assert dense.check(sealed_again(document)).exit_code is ExitCode.REFUSED


@pytest.mark.parametrize("told", [1e-6, 10.0])
def test_what_margins_alone_prove_is_checked_too(smooth, told):
    def change(document):
        curvature = document["evidence"]["robustness"]["curvature"]
        curvature["by_margins"][0] += told

    found = smooth.report.evidence.robustness.curvature
    assert len(found.by_margins) == len(found.indices)
    result = smooth.check(edited(smooth, change), EVERY_SAMPLE)
    assert any("by_margins" in difference.where for difference in result.differences)


@pytest.mark.parametrize("named", [(), None])
def test_radii_of_samples_that_curvature_is_not_named_for_are_proved_by_margins(twins, named):
    def silent(document):
        curvature = document["evidence"]["robustness"]["curvature"]
        curvature |= {"indices": [], "by_margins": named}

    changed = edited(twins, silent)
    assert not twins.check(changed).differences  # the smallest constant, of other classes, allows for them
    result = twins.check(changed, EVERY_SAMPLE)
    assert result.exit_code is ExitCode.REFUSED
    assert any("curvature.indices" in difference.where for difference in result.differences)
    assert len(result.differences) <= 9


def all_by_curvature(curvature, correct):
    known = dict(zip(curvature["indices"], curvature["by_margins"], strict=True))
    curvature |= {"indices": correct, "by_margins": [known.get(index, 0.0) for index in correct]}


def nothing_by_margins(curvature, _):
    curvature["by_margins"] = [0.0] * len(curvature["indices"])


def less_by_margins(curvature, _):
    curvature["by_margins"][3] *= 0.999999


def all_by_curvature_untold(curvature, correct):
    curvature |= {"indices": correct, "by_margins": None}


FALSE_SHARES = (nothing_by_margins, less_by_margins, all_by_curvature, all_by_curvature_untold)


@pytest.mark.parametrize("overstate", FALSE_SHARES)
def test_what_curvature_adds_is_not_overstated(steep, overstate):
    def change(document):
        robustness = document["evidence"]["robustness"]
        correct = [row["index"] for row in robustness["samples"] if row["correct"]]
        assert len(robustness["curvature"]["indices"]) < len(correct)
        overstate(robustness["curvature"], correct)

    result = steep.check(edited(steep, change), EVERY_SAMPLE)
    assert result.exit_code is ExitCode.REFUSED
    assert all(difference.where.startswith("robustness.curvature") for difference in result.differences)


def test_a_sample_of_which_nine_digits_show_no_gain_is_not_said_to_rest_on_curvature(steep):
    for again in (None, EVERY_SAMPLE):
        assert not steep.check(steep.report, again).differences


def test_how_much_margins_prove_need_not_be_told(steep):
    def silent(document):
        document["evidence"]["robustness"]["curvature"]["by_margins"] = None

    assert not steep.check(edited(steep, silent), EVERY_SAMPLE).differences
