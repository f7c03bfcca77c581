"""Check a report: everything that it claims is proved again from the model, without a search.

    digest of the evidence → files and weights → the graph → norms (τ as stored) → layers → blocks → network
    → pair constants → samples among themselves → (--recheck) samples anew → budgets, findings, verdict

The report is never trusted: it only says which τ, multiplier or scaling to try, and in which order.  What is
claimed more strongly than what is proved now is a difference, and refuses it.  What lies below (witnesses,
attacks) is not repeated.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch

from lipaudit.attest.grounds import check_grounds
from lipaudit.attest.judging import check_judgement
from lipaudit.attest.ledger import Ledger, Verification
from lipaudit.attest.network import check_network
from lipaudit.attest.origin import check_model, check_subject, load_again
from lipaudit.attest.preprocessing import Samples
from lipaudit.attest.samples import Again, check_dataset, check_samples, recheck
from lipaudit.certify.curvature import curvature
from lipaudit.data import load_dataset, make_sizing
from lipaudit.errors import ExitCode, Incomplete, InputRefused, UsageError
from lipaudit.load import LoadedModel
from lipaudit.moment import moment
from lipaudit.policy import Policy, load_policy
from lipaudit.report.canonical import digest_of
from lipaudit.report.model import AuditReport, Evidence
from lipaudit.spectral.method import DEFAULT
from lipaudit.subject import Trying, check_scores

__all__ = ["Terms", "check_claims", "verify"]

SEEDS = 2**32
"""As many draws are possible where nobody names one: the author of a report cannot know which it will be."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How claims are checked.

    Args:
        again: which samples are evaluated again; None: none.
        policy: the file that the report was judged by; None if it is not at hand.
        memory: bytes that a spectral method's tensors may take at a time.
        stage: told what begins, and of how many steps it is.
        advance: told how many are done.
    """

    again: Again | None = None
    policy: Policy | None = None
    memory: int = DEFAULT.memory
    stage: Callable[[str, int], None] = lambda _name, _total: None
    advance: Callable[[int], None] = lambda _count: None


PLAIN = Terms()


def verify(  # noqa: PLR0913 - the options of the command line
    report: AuditReport,
    model: str | Path,
    *,
    arch: str | None = None,
    allow_global: Sequence[str] = (),
    trust_pickle: str | None = None,
    dataset: str = "none",
    data_dir: str | Path | None = None,
    offline: bool = False,
    samples: int | None = None,
    seed: int | None = None,
    policy: str | Path | None = None,
    memory: int = DEFAULT.memory,
    stage: Callable[[str, int], None] = lambda _name, _total: None,
    advance: Callable[[int], None] = lambda _: None,
) -> Verification:
    """Prove again what a report claims about a model.

    Args:
        report: as `canonical.from_json` reads it.
        model: path of the model's file.
        arch: as for an audit; the report says which factory it was, and is not believed.
        allow_global: as for an audit.
        trust_pickle: as for an audit.
        dataset: the data set, to compare its fingerprint and to evaluate samples again.
        data_dir: where it lies.
        offline: never download it.
        samples: how many samples are evaluated again; all of them if there are fewer.  None: none.
        seed: of the draw; None: one that nobody can foresee, told in the result.
        policy: the file that the report was judged by; without it budgets are taken as the report tells them.
        memory: bytes that a spectral method's tensors may take at a time; as much as the audit had.
        stage: told what begins, and of how many steps it is.
        advance: told how many are done.

    Raises:
        LipauditError: what keeps the report from being checked; what it claims wrongly is no error but stands
            in the result.
    """
    evidence, ledger = report.evidence, Ledger()
    _check_report(report, samples, dataset)
    stage("loading data", 0)
    found = _samples(evidence, dataset, data_dir, ledger, offline=offline)
    stage("loading model", 0)
    terms: dict[str, Any] = {"allow_globals": tuple(allow_global), "trust_pickle": trust_pickle, "arch": arch}
    loaded = load_again(model, evidence.model, terms)
    if check_model(loaded, evidence.model, ledger):
        again = (
            None if samples is None else Again(samples, secrets.randbelow(SEEDS) if seed is None else seed)
        )
        judged = None if policy is None else load_policy(Path(policy))
        check_claims(report, loaded, found, ledger, Terms(again, judged, memory, stage, advance))
    if policy is None:
        ledger.unchecked.append("which budgets were asked for: the report's word (--policy)")
    ledger.unchecked.append("names and texts: of layers' places, files, findings' advice, people")
    ledger.unchecked.append("`run`: when, where and with which options the audit ran")
    return ledger.closed()


def check_claims(
    report: AuditReport, loaded: LoadedModel, samples: Samples | None, ledger: Ledger, terms: Terms = PLAIN
) -> None:
    """Everything that a report says about a model whose files and weights are the right ones.

    Args:
        report: what is claimed.
        loaded: the model.
        samples: of the data set, whose fingerprint is the right one; None if it is not at hand.
        ledger: is told of everything.
        terms: how.

    Raises:
        LipauditError: as `verify`.
    """
    evidence, again = report.evidence, terms.again
    terms.stage("trying the preprocessing again", 0)
    subject = check_subject(loaded, evidence, samples, ledger)
    terms.stage("proving norms again", len(subject.graph.nodes) + len(evidence.blocks))
    with torch.no_grad():
        proved = check_network(subject.graph, evidence, ledger, terms.memory, partial(terms.advance, 1))
    if proved is None:
        return
    layers, bound = proved
    bent = None
    if evidence.robustness is not None:
        check_scores(subject)
        terms.stage("bounding the curvature again", 0)
        with torch.no_grad():
            bent = curvature(subject.graph, layers, bound)
    check_samples(subject, evidence, (bound, bent), ledger)
    if again is not None and not ledger.differences:
        terms.stage(
            "evaluating samples again",
            min(again.count, 0 if subject.samples is None else len(subject.samples)),
        )
        recheck(loaded, subject, evidence, (*proved, bent), again, ledger, terms.advance)
    elif evidence.robustness is not None:
        ledger.unchecked.append("radii, margins and predictions: no sample was evaluated again (--recheck N)")
    if ledger.differences:  # judged again, wrong numbers would be told as if they were proved
        ledger.unchecked.append("budgets, findings and the verdict: they rest on what differs")
        return
    today = max(moment(), datetime.now(UTC)).date()  # a variable may end a waiver, not revive it
    check_judgement(report, layers, terms.policy, today, ledger)
    if terms.policy is not None:
        check_grounds(evidence, None if samples is None else samples.data, ledger)
    if evidence.falsification is not None:
        ledger.equal("falsification.hits", evidence.falsification.hits, 0)


def _check_report(report: AuditReport, samples: int | None, dataset: str) -> None:
    """Can this report be checked at all?"""
    evidence = report.evidence
    if report.evidence_sha256 is None:
        raise Incomplete(
            "the report has no evidence_sha256: it is older than certificates",
            hint="audit the model again with this version",
        )
    if report.evidence_sha256 != digest_of(evidence):
        raise InputRefused("the report's evidence is not what its evidence_sha256 was taken of")
    if report.exit_code == int(ExitCode.INTERRUPTED):
        raise Incomplete(
            "the report is of an audit that was interrupted: it claims nothing about the whole",
            hint="audit the model again",
        )
    held = any(row.certificates for row in evidence.layers)
    if not held and any(row.tried for row in evidence.layers):
        raise Incomplete(
            "the report holds no certificates, so that its norms cannot be proved again",
            hint="audit the model again with this version",
        )
    if samples is None:
        return
    if evidence.robustness is None:
        raise UsageError("--recheck: the report holds no certified radii", hint="leave it out")
    if dataset == "none":
        raise UsageError("--recheck needs the data set", hint="add --dataset as for the audit")


def _samples(
    evidence: Evidence, spec: str, data_dir: str | Path | None, ledger: Ledger, *, offline: bool
) -> Samples | None:
    """The samples that the report speaks of, if they are at hand and the same."""
    record = evidence.dataset
    if spec == "none":
        if record is not None:
            ledger.unchecked.append(f"the data set's fingerprint: {record.name} was not given (--dataset)")
        return None
    if record is None:
        raise UsageError("--dataset: the report speaks of no data set", hint="leave it out")
    sizing = make_sizing(record.resize, record.crop)
    load = partial(load_dataset, spec, data_dir=data_dir, offline=offline, sizing=sizing)
    data = load(limit=record.limit, seed=record.seed)
    if data is None or not check_dataset(data, record, ledger):
        return None
    return Samples(data, Trying.on(load))
