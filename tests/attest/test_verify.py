"""`verify` from files: what is compared, what keeps it from being checked, what is left open."""

from __future__ import annotations

import json
import secrets
import sys

import numpy as np
import pytest
import torch
from attested import EVERY_SAMPLE, DenseNet, sealed_again
from sample_policy import policy_text
from torch import nn

from lipaudit.attest.samples import Again
from lipaudit.attest.verify import verify
from lipaudit.errors import ExitCode, Incomplete, InputRefused, UsageError
from lipaudit.pipeline import audit
from lipaudit.report import to_json
from lipaudit.report.canonical import sealed


class Exponential(nn.Module):
    """No bound, so that no margin is known, and finite outputs."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(5, 4)

    def forward(self, x):
        return self.linear(torch.exp(x))


def zeros(module):
    for parameter in module.parameters():
        parameter.data.zero_()
    return module


def scaled(module, factor):
    for parameter in module.parameters():
        parameter.data.mul_(factor)
    return module


def perceptron(outputs):
    return nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, outputs))


ODD = {
    "no bound": (Exponential, (5,), {}),
    "zeros": (lambda: nn.Sequential(zeros(nn.Linear(5, 4)), nn.ReLU(), nn.Linear(4, 3)), (5,), {}),
    "zero kernel": (
        lambda: nn.Sequential(zeros(nn.Conv2d(1, 2, 3)), nn.Flatten(), nn.Linear(18, 3)), (1, 5, 5), {}
    ),
    "large": (
        lambda: nn.Sequential(scaled(nn.Linear(5, 4), 1e30), nn.ReLU(), scaled(nn.Linear(4, 3), 1e-30)),
        (5,),
        {},
    ),
    "overflow": (
        lambda: nn.Sequential(*(p for _ in range(9) for p in (scaled(nn.Linear(5, 5), 1e37), nn.ReLU()))),
        (5,),
        {},
    ),
    "one score": (lambda: perceptron(1), (5,), {}),
    "one probability": (lambda: nn.Sequential(perceptron(1), nn.Sigmoid()), (5,), {}),
    "classes": (lambda: nn.Sequential(perceptron(3), nn.LogSoftmax(1)), (5,), {}),
    "normalised": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.ReLU(), nn.AvgPool2d(2),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Flatten(), nn.Linear(144, 3),
        ),
        (3, 6, 6),
        {"mean": (0.1, 0.2, 0.3), "std": (0.5, 0.4, 0.3)},
    ),
    "input space": (lambda: perceptron(3), (5,), {"mean": (0.5,), "std": (0.25,), "threat_space": "input"}),
}  # fmt: skip


QUICK = ("no bound", "zeros", "overflow")


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=[] if n in QUICK else [pytest.mark.slow]) for n in ODD]
)
def test_odd_networks(name, tmp_path):
    make, shape, options = ODD[name]
    torch.manual_seed(0)
    module, path, images = make().eval(), tmp_path / "model.pt2", tmp_path / "images.npz"
    torch.export.save(torch.export.export(module, (torch.zeros(1, *shape),)), path)
    points = torch.rand(40, *shape)
    with torch.no_grad():
        scores = module(points)
    labels = scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0.5).long()
    np.savez(images, images=points.numpy(), labels=labels.numpy())
    for data in ("none", f"npz:{images}"):
        given = options or ({} if data == "none" else {"scale": 1})
        report = audit(path, dataset=data, max_lipschitz="0.5", profile="fast", device="cpu", **given)
        found = verify(report, path, dataset=data, samples=None if data == "none" else 40)
        assert not found.differences
        assert found.exit_code is ExitCode.PASS


WAIVER = {
    "budget": "lipschitz",
    "layers": [],
    "reason": "r",
    "owner": "o",
    "expires": "2020-01-31",
    "state": "used",
    "line": None,
}


def where(found):
    return [row.where for row in found.differences]


def test_from_the_file_alone(dense):
    found = verify(dense.report, dense.model)
    assert found.exit_code is ExitCode.PASS
    assert any("norms that the checker granted again" in line for line in found.proved)
    assert any("--recheck" in line for line in found.unchecked)
    assert any("fingerprint" in line for line in found.unchecked)


def test_with_samples(dense):
    stages = []
    found = verify(
        dense.report,
        dense.model,
        dataset=f"npz:{dense.images}",
        samples=5,
        seed=4,
        stage=lambda name, total: stages.append((name, total)),
    )
    assert found.exit_code is ExitCode.PASS
    assert any("5 of 40 samples, drawn with seed 4" in line for line in found.proved)
    assert not any("--recheck" in line for line in found.unchecked)
    assert any("of the other 35 of 40 samples" in line for line in found.unchecked)
    assert ("evaluating samples again", 5) in stages


def test_the_draw_cannot_be_foreseen(dense, monkeypatch):
    asked = []
    monkeypatch.setattr(secrets, "randbelow", lambda most: asked.append(most) or 77)
    found = verify(dense.report, dense.model, dataset=f"npz:{dense.images}", samples=5)
    assert any("5 of 40 samples, drawn with seed 77" in line for line in found.proved)
    assert asked == [2**32]
    whole = verify(dense.report, dense.model, dataset=f"npz:{dense.images}", samples=50)
    assert not any("not drawn" in line for line in whole.unchecked)


def test_another_model_is_refused(dense, tmp_path):
    module = DenseNet().eval()
    module.sandwich.b = nn.Parameter(module.sandwich.b + 1, requires_grad=False)
    path = tmp_path / "model.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(1, 6),)), path)
    found = verify(dense.report, path)
    assert found.exit_code is ExitCode.REFUSED
    assert "model.weights_sha256" in where(found)


def test_other_samples_are_refused(dense, tmp_path):
    held = np.load(dense.images)
    np.savez(tmp_path / "images.npz", images=held["images"] + 0.01, labels=held["labels"])
    found = verify(dense.report, dense.model, dataset=f"npz:{tmp_path / 'images.npz'}", samples=3)
    assert found.exit_code is ExitCode.REFUSED
    assert where(found) == ["dataset.fingerprint_sha256"]


def test_what_keeps_a_report_from_being_checked(dense):
    with pytest.raises(UsageError, match="--recheck needs the data set"):
        verify(dense.report, dense.model, samples=3)
    with pytest.raises(Incomplete, match="evidence_sha256"):
        verify(dense.report.model_copy(update={"evidence_sha256": None}), dense.model)
    with pytest.raises(InputRefused, match="evidence_sha256"):
        verify(dense.report.model_copy(update={"evidence_sha256": "0" * 64}), dense.model)
    interrupted = {"verdict": "incomplete", "exit_code": 130}
    with pytest.raises(Incomplete, match="interrupted"):
        verify(dense.report.model_copy(update=interrupted), dense.model)
    document = dense.document
    for row in document["evidence"]["layers"]:
        row["certificates"] = []
    with pytest.raises(Incomplete, match="no certificates"):
        verify(sealed_again(document), dense.model)


def test_a_report_without_samples(dense):
    report = audit(dense.model, attack=False, profile="fast", device="cpu")
    found = verify(report, dense.model)
    assert found.exit_code is ExitCode.PASS
    assert not found.differences
    with pytest.raises(UsageError, match="no data set"):
        verify(report, dense.model, dataset=f"npz:{dense.images}")
    with pytest.raises(UsageError, match="no certified radii"):
        verify(report, dense.model, samples=1)


def test_what_cannot_be_judged_again_is_not_passed(dense):
    document = dense.document
    document["evidence"]["budgets"][0]["metric"] = "require"
    assert dense.check(sealed_again(document)).exit_code is ExitCode.INCOMPLETE
    document = dense.document
    document["evidence"]["waivers"] = [WAIVER]
    assert "waivers" in where(dense.check(sealed_again(document)))
    document = dense.document
    document["evidence"]["robustness"]["samples"] = None
    assert dense.check(sealed_again(document)).exit_code is ExitCode.INCOMPLETE


POLICY = policy_text(
    lipschitz=1000,
    layers=["chain.layer*", "skew*"],
    each=0.5,
    eps="0.001",
    certified="10%",
    clean="10%",
    more='[[budget]]\nid = "gap"\nmetric = "slack"\nmax = 1e6\n',
)


@pytest.fixture(scope="module")
def judged_once(dense, tmp_path_factory):
    path = tmp_path_factory.mktemp("judged") / "lipaudit.toml"
    path.write_text(POLICY, encoding="utf-8")
    data = f"npz:{dense.images}"
    return audit(dense.model, dataset=data, scale=1, policy=path, profile="fast", device="cpu")


@pytest.fixture
def judged(judged_once, tmp_path):
    """A report, and a policy file like the one that it was judged by."""
    path = tmp_path / "lipaudit.toml"
    path.write_text(POLICY, encoding="utf-8")
    return judged_once, path


def test_policies(dense, judged):
    report, path = judged
    assert report.verdict == "pass"
    alone = dense.check(report)
    assert not alone.differences
    assert alone.exit_code is ExitCode.PASS
    assert any("--policy" in line for line in alone.unchecked)
    assert any("budget gap" in line for line in alone.unchecked)
    found = verify(report, dense.model, policy=path)
    assert found.exit_code is ExitCode.PASS
    assert not any("--policy" in line for line in found.unchecked)
    path.write_text(POLICY.replace("0.5", "0.4"), encoding="utf-8")
    assert "policy.sha256" in where(verify(report, dense.model, policy=path))
    with pytest.raises(UsageError, match="not judged by a file"):
        verify(dense.report, dense.model, policy=path)


@pytest.mark.slow
def test_a_waiver_that_has_ended_since(dense, judged, monkeypatch):
    report, path = judged
    last, next_day = "32474779200", "32474865600"  # 2999-01-31 and the day after
    monkeypatch.setenv("SOURCE_DATE_EPOCH", last)
    assert verify(report, dense.model, policy=path).exit_code is ExitCode.PASS
    monkeypatch.setenv("SOURCE_DATE_EPOCH", next_day)
    for found in (verify(report, dense.model, policy=path), dense.check(report)):
        (difference,) = found.differences
        assert difference.where == "verdict on 2999-02-01"
        assert difference.claimed == "pass"
        assert difference.proved.startswith(("fail: ", "inconclusive: "))
        assert "a waiver of layers ended on 2999-01-31" in difference.proved
        assert found.exit_code is ExitCode.REFUSED


@pytest.mark.slow
def test_no_variable_revives_a_waiver(dense, judged, monkeypatch):
    report, _ = judged
    waivers = tuple(w.model_copy(update={"expires": "2020-01-31"}) for w in report.evidence.waivers)
    old = sealed(
        report.model_copy(update={"evidence": report.evidence.model_copy(update={"waivers": waivers})})
    )
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1500000000")
    assert any(row.where.startswith("verdict on 20") for row in dense.check(old).differences)


def test_requirements_take_the_policy_file(dense, tmp_path):
    path = tmp_path / "lipaudit.toml"
    path.write_text("[require]\nmin_samples = 10\n", encoding="utf-8")
    data = f"npz:{dense.images}"
    report = audit(
        dense.model, dataset=data, scale=1, policy=path, profile="fast", attack=False, device="cpu"
    )
    alone = verify(report, dense.model)
    assert alone.exit_code is ExitCode.INCOMPLETE
    assert any("require.min_samples" in line for line in alone.unproved)
    assert verify(report, dense.model, policy=path, dataset=data).exit_code is ExitCode.PASS


def required(dense, tmp_path, clauses, *, attack=False):
    path = tmp_path / "lipaudit.toml"
    path.write_text(f"[require]\n{clauses}\n", encoding="utf-8")
    data = f"npz:{dense.images}"
    options = {"scale": 1, "policy": path, "profile": "fast", "attack": attack, "device": "cpu"}
    return audit(dense.model, dataset=data, **options), path


def test_requirements_rest_on_what_was_checked(dense, tmp_path):
    digest, data = dense.report.evidence.dataset.fingerprint_sha256, f"npz:{dense.images}"
    clauses = f"""min_samples = 10
dataset = "npz:images.npz"
dataset_fingerprint = "{digest}"
coverage = "100%"
arithmetic = "real"
"""
    report, path = required(dense, tmp_path, clauses)
    assert report.verdict == "pass"
    alone = verify(report, dense.model, policy=path)
    assert not alone.differences
    assert alone.exit_code is ExitCode.INCOMPLETE
    assert [line.split(":")[0] for line in alone.unproved] == [
        f"budget require.{clause}" for clause in ("min_samples", "dataset", "dataset_fingerprint")
    ]
    assert verify(report, dense.model, policy=path, dataset=data).exit_code is ExitCode.PASS


@pytest.mark.slow
def test_an_attack_that_is_required_is_not_proved(dense, tmp_path):
    report, path = required(dense, tmp_path, "attacked = true", attack=True)
    assert report.verdict == "pass"
    found = verify(report, dense.model, policy=path, dataset=f"npz:{dense.images}")
    assert not found.differences
    (told,) = found.unproved
    assert told.startswith("budget require.attacked: it rests on an attack, which is never repeated: drop")
    assert found.exit_code is ExitCode.INCOMPLETE


@pytest.mark.slow
def test_the_name_of_a_data_set(dense, tmp_path):
    document, data = dense.document, f"npz:{dense.images}"
    document["evidence"]["dataset"]["name"] = "mnist:test"
    assert where(verify(sealed_again(document), dense.model, dataset=data)) == ["dataset.name"]
    copy = tmp_path / "copy.npz"
    copy.write_bytes(dense.images.read_bytes())
    found = verify(dense.report, dense.model, dataset=f"npz:{copy}")
    assert found.exit_code is ExitCode.PASS
    assert any("told is npz:images.npz, here it is called npz:copy.npz" in line for line in found.unchecked)
    report, path = required(dense, tmp_path, 'dataset = "npz:images.npz"')
    found = verify(report, dense.model, dataset=f"npz:{copy}", policy=path)
    assert found.unproved == ("budget require.dataset: here the data set is called npz:copy.npz",)


def test_indices_and_labels_are_compared_without_evaluating(dense):
    data = f"npz:{dense.images}"
    found = verify(dense.report, dense.model, dataset=data)
    assert any("indices and labels of the 40 samples" in line for line in found.proved)
    document = dense.document
    row = next(
        r for r in document["evidence"]["robustness"]["samples"] if not r["correct"] and r["radius"] == 0
    )
    row["label"] = next(c for c in range(4) if c not in (row["label"], row["predicted"]))
    assert verify(sealed_again(document), dense.model).exit_code is ExitCode.PASS
    found = verify(sealed_again(document), dense.model, dataset=data)
    assert where(found) == [f"robustness.samples (index {row['index']})"]
    document = dense.document
    many = document["evidence"]["robustness"]["samples"]
    for one, other in zip(many[:20], many[20:], strict=True):
        one["label"], other["label"] = other["label"], one["label"]
    refused = verify(sealed_again(document), dense.model, dataset=data)
    assert refused.exit_code is ExitCode.REFUSED
    assert any(row.proved == "they have another index or label" for row in refused.differences)


@pytest.mark.parametrize("tau", [1e154, pytest.param(sys.float_info.max, marks=pytest.mark.slow)])
def test_claims_beyond_all_measure_are_only_weak(tau, convolutions, dense):
    for net in (convolutions, dense):
        document = net.document
        for row in [*document["evidence"]["layers"], *document["evidence"]["blocks"]]:
            for certificate in row["certificates"]:
                certificate["tau"] = {"value": tau, "hex": tau.hex(), "status": "proved"}
        assert net.check(sealed_again(document)).exit_code is ExitCode.REFUSED


@pytest.mark.slow
def test_days_and_shapes_that_there_are_not(dense, judged):
    text = to_json(judged[0])
    for key, place in (("expires", ["waivers", 0]), ("judged_on", ["policy"])):
        for day in ("2026-99-99", "2026-02-31", "0000-01-01"):
            document = json.loads(text)
            row = document["evidence"]
            for step in place:
                row = row[step]
            row[key] = day
            with pytest.raises(InputRefused, match=r"day|month|year"):
                sealed_again(document)
    for shape in ([], [0], [-1, 2, 3], [2, 3], [1, 1, 1, 6], None):
        document = json.loads(text)
        document["evidence"]["dataset"]["sample_shape"] = shape
        with pytest.raises(InputRefused, match="sample_shape"):
            verify(sealed_again(document), dense.model)


def test_words_that_no_audit_wrote(dense, judged):
    text = to_json(judged[0])

    def refused(edit, name):
        document = json.loads(text)
        edit(document["evidence"])
        return any(name in place for place in where(dense.check(sealed_again(document))))

    promise = "Radii hold for the deployed float32 program as well."
    assert refused(lambda e: e["limitations"].append(promise), "limitations")
    assert refused(lambda e: e["global"].update(note="exact"), "global.note")
    waived = next(f for f in json.loads(text)["evidence"]["findings"] if f["rule"] == "LIP403")
    assert refused(lambda e: e["findings"].remove(waived), "findings")
    assert refused(lambda e: e["findings"].append(waived | {"message": "all is well"}), "findings (LIP403)")
    assert refused(
        lambda e: e["findings"].append(waived | {"rule": "LIP101", "layer": "x"}), "findings (LIP101)"
    )


def test_what_is_the_reports_word_is_said(dense, judged):
    report, path = judged
    alone, with_file = verify(report, dense.model), verify(report, dense.model, policy=path)
    assert any("which budgets were asked for" in line for line in alone.unchecked)
    assert not any("which budgets were asked for" in line for line in with_file.unchecked)
    for found in (alone, with_file):
        assert any(line.startswith("names and texts") for line in found.unchecked)


def test_waivers_and_layers_are_judged_again(dense, judged):
    report, _ = judged
    text = json.dumps(json.loads(to_json(report)))

    def refused(edit):
        document = json.loads(text)
        edit(document["evidence"])
        found = dense.check(sealed_again(document))
        return found.exit_code is ExitCode.REFUSED

    def budget(evidence, name):
        return next(b for b in evidence["budgets"] if b["id"] == name)

    assert refused(lambda e: budget(e, "layers").update(outcome="pass", waived=False))
    assert refused(lambda e: budget(e, "layers")["layers"][0].update(outcome="pass"))
    assert refused(lambda e: budget(e, "layers")["layers"][0].update(upper=0.1))
    assert refused(lambda e: e.update(waivers=[]))
    assert refused(lambda e: e["waivers"][0].update(budget="lip"))
    assert refused(lambda e: budget(e, "lip").update(limit="1e-3"))
    assert refused(lambda e: budget(e, "clean").update(limit="99%"))
    assert refused(lambda e: budget(e, "gap").update(limit="1"))


def test_counts_from_attacks_are_not_proved(dense):
    document = dense.document
    point = document["evidence"]["robustness"]["curve"][1]
    point["possible_count"] -= 1
    found = dense.check(sealed_again(document))
    assert found.exit_code is ExitCode.PASS
    assert any("possible_count" in line for line in found.unchecked)


@pytest.mark.parametrize("label", [-1, 4, 10**12, 10**30])
def test_labels_that_are_none(dense, label):
    for key in ("label", "predicted"):
        document = dense.document
        document["evidence"]["robustness"]["samples"][3][key] = label
        assert dense.check(sealed_again(document), EVERY_SAMPLE).differences


def test_a_draw_does_not_depend_on_what_is_around_it(dense):
    for seed in range(4):
        for count in (1, 7):
            assert dense.check(dense.report, Again(count, seed)).exit_code is ExitCode.PASS


def test_methods_that_proved_less_than_nothing(dense):
    document = dense.document
    bare = next(r for r in document["evidence"]["layers"] if not r["certificates"])
    told = next(r for r in document["evidence"]["layers"] if r["certificates"])
    for row, maps in ((bare, 0), (bare, 1), (told, 1), (told, 5)):
        changed = json.loads(json.dumps(document))
        rows = changed["evidence"]["layers"]
        place = rows[document["evidence"]["layers"].index(row)]
        upper = {"value": 0.0, "hex": (0.0).hex(), "status": "proved"}
        place["tried"] = [{"method": "m", "maps": maps, "upper": upper, "note": ""}]
        assert any("tried" in place for place in where(dense.check(sealed_again(changed))))


def test_what_differs_is_not_said_to_be_proved(dense):
    document = dense.document
    row = next(r for r in document["evidence"]["layers"] if r["certificates"])
    low = row["certificates"][0]["tau"]["value"] / 2
    row["certificates"][0]["tau"] = {"value": low, "hex": low.hex(), "status": "proved"}
    found = dense.check(sealed_again(document), EVERY_SAMPLE)
    assert len(found.differences) <= 3
    assert not any("granted" in line or "verdict" in line or "radii" in line for line in found.proved)
    assert any("whatever rests on norms" in line for line in found.unchecked)
    document = dense.document
    document["evidence"]["robustness"]["samples"][3]["radius"] += 1
    found = dense.check(sealed_again(document), EVERY_SAMPLE)
    assert any("granted" in line for line in found.proved)
    assert not any("radii" in line for line in found.proved)
