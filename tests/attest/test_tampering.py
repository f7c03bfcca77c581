"""Edited reports: none with a digest that does not fit is read, none that claims more is accepted."""

from __future__ import annotations

import json
import random

import pytest
from attest_edits import LOWERING, disturbed
from attested import EVERY_SAMPLE, sealed_again

from lipaudit.errors import ExitCode, LipauditError
from lipaudit.report.canonical import from_json, to_json


def accepts(net, document) -> bool:
    try:
        return net.check(sealed_again(document), EVERY_SAMPLE).exit_code is ExitCode.PASS
    except (LipauditError, ValueError):
        return False


@pytest.mark.parametrize("name", ["convolutions", "dense"])
def test_reports_as_they_were_written_are_accepted(name, request):
    net = request.getfixturevalue(name)
    found = net.check(net.report, EVERY_SAMPLE)
    assert not found.differences
    assert found.exit_code is ExitCode.PASS
    anew = from_json(json.dumps(json.loads(to_json(net.report)), indent=None, sort_keys=False))
    assert net.check(anew, EVERY_SAMPLE).exit_code is ExitCode.PASS
    assert net.check(anew).exit_code is ExitCode.PASS


def test_the_networks_are_rich_enough(convolutions, dense):
    evidence = convolutions.report.evidence, dense.report.evidence
    rules = {block.rule for found in evidence for block in found.blocks}
    assert rules >= {"convex potential", "skew polynomial", "semidefinite", "linear region", "sandwich"}
    methods = {row.method for found in evidence for layer in found.layers for row in layer.certificates}
    assert methods >= {"dense", "patches", "fft", "exact", "embedding", "supremum", "gram", "schur"}
    assert {b.outcome for found in evidence for b in found.budgets} >= {"pass", "inconclusive"}


def test_no_edit_is_read_with_the_old_digest(dense):
    rng, text = random.Random(1), json.dumps(dense.document)
    for _ in range(200):
        document = json.loads(text)
        disturbed(rng, document)
        if json.dumps(document) != text:
            with pytest.raises(LipauditError):
                from_json(json.dumps(document))


def tried(net, edit, seeds) -> int:
    count = 0
    for seed in seeds:
        document = net.document
        if edit(random.Random(seed), document):
            count += 1
            assert not accepts(net, document), f"seed {seed}"
    return count


@pytest.mark.parametrize("edit", LOWERING, ids=lambda e: getattr(e, "__name__", "edit"))
def test_no_report_that_claims_more_is_accepted(edit, convolutions, dense):
    # What the dense network does not have is tried on the other one.
    assert tried(dense, edit, range(2)) or tried(convolutions, edit, range(2))


@pytest.mark.slow
@pytest.mark.parametrize("edit", LOWERING, ids=lambda e: getattr(e, "__name__", "edit"))
def test_no_report_that_claims_more_is_accepted_after_many_edits(edit, convolutions, dense):
    assert tried(dense, edit, range(100, 112)) + tried(convolutions, edit, range(100, 110))
