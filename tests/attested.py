"""Small networks in which every rule fires, audited once, and their reports checked in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import lipschitz_nets as nets
import numpy as np
import torch
from torch import nn

from lipaudit.attest.ledger import Ledger, Verification
from lipaudit.attest.origin import check_model
from lipaudit.attest.preprocessing import Samples
from lipaudit.attest.samples import Again, check_dataset
from lipaudit.attest.verify import Terms, check_claims
from lipaudit.data import Dataset, load_dataset
from lipaudit.load import LoadedModel, load_model
from lipaudit.pipeline import audit
from lipaudit.report import AuditReport
from lipaudit.report.canonical import digest_of, from_json, to_json
from lipaudit.subject import Trying

EVERY_SAMPLE = Again(10_000, 0)


class Chain(nn.Module):
    """Dense layers with averaged activations, an average that merges with a linear map, and scores."""

    def __init__(self, size: int) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(3)
        shapes = [(7, size), (6, 7), (5, 6), (4, 5)]
        for index, shape in enumerate(shapes):
            layer = nn.Linear(shape[1], shape[0])
            layer.weight.data = torch.randn(shape, generator=g) / 3
            layer.bias.data = torch.randn(shape[0], generator=g) / 3
            self.add_module(f"layer{index}", layer)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.layer0(x))
        x = torch.relu(self.layer1(x))
        return self.layer3(self.layer2(x))


class ConvNet(nn.Module):
    """Convex potential, skew polynomial, a residual with convolutions, reflected and circular borders."""

    def __init__(self) -> None:
        super().__init__()
        g = torch.Generator().manual_seed(5)
        self.potential = nets.cpl_conv(1, image=6)
        self.first = conv(g, 4, 3, padding=1, padding_mode="reflect")
        self.skew = nets.soc_conv(1, terms=5)
        self.inner = conv(g, 5, 4, padding=1)
        self.outer = conv(g, 4, 5, padding=1)
        self.ring = conv(g, 4, 4, padding=1, padding_mode="circular")
        self.down = conv(g, 4, 4, padding=1, stride=2)
        self.dense = nets.sll_dense(1, size=36)
        self.chain = Chain(36)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.potential(x))
        x = self.skew(x)
        x = x + self.outer(torch.relu(self.inner(x)))
        x = torch.relu(self.down(self.ring(x)))
        return self.chain(self.dense(x.flatten(1)))


class DenseNet(nn.Module):
    """A sandwich, a residual and a chain of dense layers."""

    def __init__(self) -> None:
        super().__init__()
        self.sandwich = nets.sandwich(1, size=6, out=6)
        self.residual = nets.residual(1, size=6)
        self.skew = nets.soc_dense(1)
        self.chain = Chain(6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.chain(self.skew(self.residual(self.sandwich(x))))


def conv(g: torch.Generator, rows: int, columns: int, **options: object) -> nn.Conv2d:
    layer = nn.Conv2d(columns, rows, 3, **options)
    layer.weight.data = torch.randn(layer.weight.shape, generator=g) / 6
    layer.bias.data = torch.randn(rows, generator=g) / 6
    return layer


@dataclass(frozen=True, eq=False)
class Attested:
    """An audited network: its files, and its report as JSON data."""

    model: Path
    images: Path
    report: AuditReport

    @cached_property
    def loaded(self) -> LoadedModel:
        return load_model(self.model)

    @cached_property
    def data(self) -> Dataset:
        found = load_dataset(f"npz:{self.images}")
        assert found is not None
        return found

    @cached_property
    def samples(self) -> Samples:
        return Samples(self.data, Trying.on(partial(load_dataset, f"npz:{self.images}")))

    @property
    def document(self) -> dict:
        """A copy that may be edited."""
        return json.loads(to_json(self.report))

    def check(self, report: AuditReport, again: Again | None = None) -> Verification:
        """What `verify` does once the model is loaded and its digests are compared."""
        ledger = Ledger()
        record = report.evidence.dataset
        check_model(self.loaded, report.evidence.model, ledger)
        same = record is not None and check_dataset(self.data, record, ledger)
        check_claims(report, self.loaded, self.samples if same else None, ledger, Terms(again))
        return ledger.closed()


def attested(folder: Path, module: nn.Module, shape: tuple[int, ...], **options: object) -> Attested:
    """Save, draw samples, let the network label most of them, audit."""
    model, images = folder / "model.pt2", folder / "images.npz"
    module = module.eval()
    points = torch.rand(40, *shape, generator=torch.Generator().manual_seed(2))
    with torch.no_grad():  # every class is somebody's answer
        module.chain.layer3.bias -= module(points).mean(0)
        labels = module(points).argmax(1)
    torch.export.save(torch.export.export(module, (torch.zeros(1, *shape),)), model)
    labels[::7] = (labels[::7] + 1) % 4
    np.savez(images, images=points.numpy(), labels=labels.numpy())
    report = audit(model, dataset=f"npz:{images}", eps=("0.001", "0.05"), scale=1, device="cpu", **options)
    return Attested(model, images, report)


def sealed_again(document: dict) -> AuditReport:
    """The report that an edited document makes, with a digest that fits."""
    document["evidence_sha256"] = digest_of(document["evidence"])
    return from_json(json.dumps(document))
