"""Where the preprocessing comes from: what a report says about it is held against model and data."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
import torch
from attested import Attested, sealed_again
from torch import nn

from lipaudit.attest.ledger import Ledger
from lipaudit.attest.preprocessing import check_source
from lipaudit.attest.verify import verify
from lipaudit.errors import ExitCode
from lipaudit.load import Preprocessing
from lipaudit.pipeline import audit

SILENT = Preprocessing(source="metadata", silent=True)
TELLING = Preprocessing(mean=(Fraction(1, 2),), std=(Fraction(1, 4),), source="metadata")


class Pictures(nn.Module):
    """Which quarter of a picture is the brightest, with room for the range of its pixels to matter."""

    def forward(self, x):
        quarters = nn.functional.avg_pool2d(x, 4).flatten(1)
        return torch.cat([quarters, 0.47 * torch.ones_like(quarters[:, :1])], dim=1)


@pytest.fixture(scope="module")
def assumed(tmp_path_factory):
    """A report whose preprocessing was found by trial."""
    folder = tmp_path_factory.mktemp("assumed")
    model, images = folder / "model.pt2", folder / "images.npz"
    points = torch.rand(200, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    points = (points * 0.9).mul(255).round().to(torch.uint8)
    network = Pictures().eval()
    labels = network(points.double() / 255).argmax(1)
    torch.export.save(torch.export.export(network, (torch.zeros(1, 1, 8, 8),)), model)
    np.savez(images, images=points.numpy(), labels=labels.numpy())
    report = audit(model, dataset=f"npz:{images}", limit=20, attack=False, profile="fast", device="cpu")
    return Attested(model, images, report)


def edited(net, **changes):
    document = net.document
    how = document["evidence"]["preprocessing"]
    for key, value in changes.items():
        if key in how:
            how[key] = value
        else:
            how["assumption"][key] = value
    return sealed_again(document)


def test_what_was_assumed_is_tried_again(assumed):
    record = assumed.report.evidence.preprocessing
    assert record.source == "assumed"
    assert record.assumption.clear
    found = verify(assumed.report, assumed.model, dataset=f"npz:{assumed.images}", samples=20)
    assert found.exit_code is ExitCode.PASS
    assert any("tried again on samples, [0,1]" in line for line in found.proved)


def test_without_the_data_set_nobody_knows(assumed):
    found = verify(assumed.report, assumed.model)
    assert not found.differences
    assert found.exit_code is ExitCode.INCOMPLETE
    assert any("[0,1] chw is the preprocessing" in line for line in found.unproved)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"convention": "0…255 chw"}, marks=pytest.mark.slow),
        {"convention": "0…255 chw", "scale": "255"},
        {"convention": "[0,1] chw", "scale": "1/1000"},
        pytest.param({"clear": False}, marks=pytest.mark.slow),
        {"plausible": False},
        {"assumption": None},
        {"assumption": None, "source": "default"},
        pytest.param({"assumption": None, "source": "metadata"}, marks=pytest.mark.slow),
        {"assumption": None, "source": "flags and metadata"},
        {"source": "default"},
        pytest.param({"source": "flags"}, marks=pytest.mark.slow),
        {"source": "guessed"},
    ],
)
def test_what_else_it_may_be_called_is_refused(assumed, changes):
    found = verify(edited(assumed, **changes), assumed.model, dataset=f"npz:{assumed.images}")
    assert found.exit_code is ExitCode.REFUSED
    assert any("preprocessing" in row.where for row in found.differences)


def test_other_counts_are_not_proved(assumed):
    samples = assumed.report.evidence.preprocessing.assumption.samples
    for changes in ({"correct": samples - 1}, {"runner_up_correct": 0}, {"runner_up": "anything"}):
        found = verify(edited(assumed, **changes), assumed.model, dataset=f"npz:{assumed.images}")
        assert found.exit_code is ExitCode.INCOMPLETE
        assert any("the counts by which" in line for line in found.unproved)


def test_numbers_that_somebody_stated_may_be_any(assumed):
    data = f"npz:{assumed.images}"
    options = {"dataset": data, "limit": 20, "attack": False, "profile": "fast", "device": "cpu"}
    report = audit(assumed.model, mean=[0.1], std=[0.5], **options)
    found = verify(report, assumed.model, dataset=data, samples=20)
    assert found.exit_code is ExitCode.PASS
    assert any("stated by whoever ran the audit" in line for line in found.unchecked)
    net = replace(assumed, report=report)
    hidden = verify(edited(net, source="default", mean=[], std=[]), assumed.model)
    assert "preprocessing.source" in [row.where for row in hidden.differences]


def checked(net, own, *, with_data=True, samples=None, **record):
    """What is said about the source of a report, of a model with these metadata."""
    ledger, evidence = Ledger(), net.report.evidence
    told = evidence.preprocessing.model_copy(update=record)
    used = Preprocessing(
        layout=told.layout,
        scale=Fraction(told.scale),
        mean=tuple(map(Fraction, told.mean)),
        std=tuple(map(Fraction, told.std)),
        source=told.source,
    )
    evidence = evidence.model_copy(
        update={"preprocessing": told, "dataset": evidence.dataset if with_data else None}
    )
    check_source(replace(net.loaded, preprocessing=own), evidence, used, samples, ledger)
    return ledger


PLAIN = {"scale": "1", "mean": (), "std": (), "assumption": None}
TOLD = {**PLAIN, "mean": ("0.5",), "std": ("0.25",)}


def test_metadata(assumed):
    assert not checked(assumed, TELLING, **TOLD, source="metadata").differences
    assert checked(assumed, TELLING, **PLAIN, source="metadata").differences
    assert checked(assumed, TELLING, **PLAIN, source="default").differences
    assert checked(assumed, TELLING, **PLAIN, source="flags").differences
    assert not checked(assumed, TELLING, **PLAIN, source="flags and metadata").differences
    (difference,) = checked(assumed, TELLING, source="assumed").differences
    assert difference.proved == "the model's metadata state it"
    (difference,) = checked(assumed, SILENT, **PLAIN, source="metadata").differences
    assert "they would have been tried" in difference.proved
    assert not checked(assumed, SILENT, source="assumed").differences


def test_metadata_of_the_layout(assumed):
    one = replace(TELLING, layout="hwc")
    assert [row.where for row in checked(assumed, one, **TOLD, source="metadata").differences] == [
        "preprocessing.layout"
    ]
    assert not checked(assumed, one, **TOLD, source="flags and metadata").differences


def test_without_a_data_set_nothing_is_tried(assumed):
    none = {"with_data": False, "layout": None}
    assert not checked(assumed, None, **none, **PLAIN, source="default").differences
    assert not checked(assumed, SILENT, **none, **PLAIN, source="metadata").differences
    assert checked(assumed, None, **none, source="assumed").differences
    assert checked(assumed, None, **none, source="default").differences
    assert checked(assumed, None, **none | {"layout": "hwc"}, **PLAIN, source="default").differences


def test_images_that_are_no_pixels(assumed):
    own = {**PLAIN, "source": "default"}
    assert not checked(assumed, None, **own, threat_space="the file's own units").differences
    nobody_knows = checked(assumed, None, **own, threat_space="the model's own input")
    assert not nobody_knows.differences
    assert nobody_knows.unproved
    lying = checked(assumed, None, samples=assumed.samples, **own, threat_space="the file's own units")
    assert lying.differences


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """A network of vectors: pictures in colour fit in two orders, and only the numbers are stated."""
    folder = tmp_path_factory.mktemp("turned")
    model, images = folder / "model.pt2", folder / "images.npz"
    network = nn.Linear(12, 3).eval()
    network.weight.data, network.bias.data = torch.eye(3).repeat_interleave(4, dim=1), torch.zeros(3)
    points = torch.rand(200, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        labels = network(points.flatten(1)).argmax(1)
    torch.export.save(torch.export.export(network, (torch.zeros(1, 12),)), model)
    np.savez(images, images=points.numpy(), labels=labels.numpy())
    options = {"limit": 20, "attack": False, "profile": "fast", "device": "cpu"}
    return Attested(model, images, audit(model, dataset=f"npz:{images}", scale=1, **options))


def test_a_layout_that_was_tried(turned):
    record, data = turned.report.evidence.preprocessing, f"npz:{turned.images}"
    assert (record.source, record.assumption.convention) == ("flags", "as stated, flat")
    found = verify(turned.report, turned.model, dataset=data, samples=20)
    assert found.exit_code is ExitCode.PASS
    assert any("tried again on samples, as stated, flat" in line for line in found.proved)
    assert verify(turned.report, turned.model).exit_code is ExitCode.INCOMPLETE
    other = edited(turned, layout="hwc", convention="as stated, hwc")
    assert verify(other, turned.model, dataset=data).exit_code is ExitCode.REFUSED


def test_a_layout_that_nobody_stated_is_not_taken_for_granted(turned):
    own = {**TOLD, "source": "metadata"}
    (difference,) = checked(turned, TELLING, **own, layout="flat").differences
    assert "would have been tried" in difference.proved
    stated = replace(TELLING, layout="flat")
    assert not checked(turned, stated, **own, layout="flat").differences
    told = turned.report.evidence.preprocessing.assumption
    (difference,) = checked(turned, stated, **own | {"assumption": told}, layout="flat").differences
    assert difference.proved == "nothing had to be assumed"
