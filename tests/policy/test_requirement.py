"""Conditions on the audit itself: fail where the report says otherwise, inconclusive where it is silent."""

import pytest
import sample_report as sample

from lipaudit.bound import Bound
from lipaudit.report.model import NetworkBracket

DATA = sample.evidence().dataset
NO_BOUND = NetworkBracket.of(Bound.unbounded("the product of the layers overflows"))


@pytest.mark.parametrize(
    ("clause", "changes", "outcome"),
    [
        ("min_samples = 10000", {}, "pass"),
        ("min_samples = 10001", {}, "fail"),
        ("min_samples = 1", {"dataset": None}, "fail"),
        ('dataset = "mnist:test"', {}, "pass"),
        ('dataset = "mnist:train"', {}, "fail"),
        ('dataset = "mnist:test"', {"dataset": None}, "fail"),
        (f'dataset_fingerprint = "{sample.DIGEST}"', {}, "pass"),
        (f'dataset_fingerprint = "{sample.DIGEST.upper()}"', {}, "pass"),
        (f'dataset_fingerprint = "{"f" * 64}"', {}, "fail"),
        ("official = true", {}, "pass"),
        ("official = true", {"dataset": DATA.model_copy(update={"official": False})}, "fail"),
        ("official = true", {"dataset": DATA.model_copy(update={"official": None})}, "inconclusive"),
        ("official = true", {"dataset": None}, "fail"),
        ('trust = "data only"', {}, "pass"),
        ('trust = ["runs the --arch file", "data only"]', {}, "pass"),
        ('trust = "data"', {}, "fail"),
        ('coverage = "100%"', {}, "pass"),
        ('coverage = "100%"', {"layers": (sample.conv(0), sample.unknown())}, "fail"),
        ("coverage = 0.5", {"layers": (sample.conv(0), sample.unknown())}, "pass"),
        ("coverage = 1", {"layers": ()}, "inconclusive"),
        ("coverage = 1", {"global_": NO_BOUND}, "fail"),
        ("coverage = 0.5", {"global_": NO_BOUND}, "fail"),
        ("attacked = true", {}, "pass"),
        ("attacked = true", {"falsification": None}, "fail"),
        ('arithmetic = "real"', {}, "pass"),
        ('threat_space = "pixel"', {}, "pass"),
        ('threat_space = "file"', {}, "fail"),
        (f'weights_sha256 = "{sample.DIGEST}"', {}, "pass"),
        (f'weights_sha256 = "sha256:{sample.DIGEST}"', {}, "pass"),
        (f'weights_sha256 = "{"f" * 64}"', {}, "fail"),
        ('arithmetic = "real"', {"robustness": None}, "inconclusive"),
    ],
)
def test_clauses(judged, clause, changes, outcome):
    (found,) = judged(f"[require]\n{clause}", **changes).outcomes
    assert found.outcome == outcome
    assert found.metric == "require"
    assert found.id == f"require.{clause.split()[0]}"
    assert found.line == 2


def test_a_requirement_can_be_waived(judged):
    text = (
        '[require]\nmin_samples = 10001\n[[waiver]]\nbudget = "require.min_samples"\n'
        'reason = "r"\nowner = "o"\nexpires = 2026-06-01'
    )
    assert judged(text).verdict == "pass"
