"""What a report is about: the model's files and weights, and what lies between them and the threat space."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from lipaudit.attest.ledger import Ledger
from lipaudit.attest.preprocessing import Samples, check_source
from lipaudit.certify.falsify import FAILED, NOTHING_FINITE, SWITCHED_OFF
from lipaudit.data import FILE_SPACE, PIXEL_SPACE, Dataset
from lipaudit.errors import InputRefused
from lipaudit.load import LoadedModel, Preprocessing, load_model
from lipaudit.report.assemble import model_record
from lipaudit.report.exact import read_exact
from lipaudit.report.inputs import ModelRecord, PreprocessingRecord
from lipaudit.report.limits import SLOPES, limitations
from lipaudit.report.model import Evidence
from lipaudit.subject import INPUT_SPACE, Subject, rebuild_subject

__all__ = ["check_model", "check_subject", "load_again"]

MADE_HERE = frozenset({"name", "files", "loader", "conversion"})
"""Fields of the model's record that depend on names and versions of this machine."""


def load_again(path: str | Path, record: ModelRecord, terms: Mapping[str, Any]) -> LoadedModel:
    """The model with the input shape and the output that the report speaks of.

    Args:
        path: the model's file.
        record: what the report says about it.
        terms: `arch`, `allow_globals` and `trust_pickle`, as for an audit; a report is not believed in them.
    """
    sample = record.input_shape[1:]
    loaded = load_model(path, logits=record.logits, default_shape=sample, **terms)
    if loaded.input_shape == record.input_shape or loaded.weights_sha256 != record.weights_sha256:
        return loaded
    return load_model(path, logits=record.logits, input_shape=sample, **terms)


def check_model(loaded: LoadedModel, record: ModelRecord, ledger: Ledger) -> bool:
    """Whether these are the files and weights that were audited."""
    claimed, found = (sorted(f"{f.sha256} ({f.bytes})" for f in one.files) for one in (record, loaded))
    same = ledger.equal("model.files (sha256, bytes)", claimed, found)
    now = model_record(record.name, loaded, 0, record.logits)
    for name in sorted(set(ModelRecord.model_fields) - MADE_HERE - {"num_classes"}):
        same = ledger.equal(f"model.{name}", getattr(record, name), getattr(now, name)) and same
    if loaded.conversion is not None and record.conversion is None:
        ledger.differs("model.conversion", None, "compared with onnxruntime")
    if same:
        ledger.proved.append(f"files and weights of {record.name}: digests are those of the report")
        if loaded.conversion is not None:
            ledger.proved.append("the analysed graph was compared with the original program again")
    else:
        ledger.unproved.append("all else: this is not the model that was audited (is it the right --model?)")
    return same


def check_subject(
    loaded: LoadedModel, evidence: Evidence, samples: Samples | None, ledger: Ledger
) -> Subject:
    """The network from the threat space to its scores, as the report says it was audited.

    Args:
        loaded: the model.
        evidence: what is claimed.
        samples: None if the data set is not at hand.
        ledger: is told of everything.

    Raises:
        InputRefused: if the report's preprocessing cannot be meant.
    """
    record = evidence.preprocessing
    used = _preprocessing(record)
    sample = _sample_shape(evidence)
    check_source(loaded, evidence, used, samples, ledger)
    data = None if samples is None else samples.data
    is_default = evidence.dataset is None and used.source == "default"
    space = "input" if record.threat_space == INPUT_SPACE and not is_default else "pixel"
    subject = rebuild_subject(loaded, used, sample, data, torch.device("cpu"), space)
    _check_space(record, evidence, subject, data, ledger)
    ledger.equal("preprocessing.layout", record.layout, subject.layout)
    ledger.equal("model.num_classes", evidence.model.num_classes, max(subject.classes, 2))
    _check_limitations(evidence, limitations(loaded, subject), ledger)
    return subject


def _preprocessing(record: PreprocessingRecord) -> Preprocessing:
    try:
        return Preprocessing(
            layout=record.layout,
            scale=read_exact(record.scale),
            mean=tuple(map(read_exact, record.mean)),
            std=tuple(map(read_exact, record.std)),
            source=record.source,
        )
    except ValueError as error:
        raise InputRefused(f"the report's preprocessing cannot be meant: {error}") from error


def _check_limitations(evidence: Evidence, known: Sequence[str], ledger: Ledger) -> None:
    """Every sentence that follows, and none that somebody else wrote: a limitation may be no promise."""
    for text in known:
        if text not in evidence.limitations:
            ledger.differs("limitations", "a sentence is missing", text)
    for text in evidence.limitations:
        if text.startswith(FAILED):
            ledger.unchecked.append("why the attack could not be made")
        elif text not in (*known, SLOPES, SWITCHED_OFF, NOTHING_FINITE):
            ledger.differs("limitations", text, "no audit says so")


def _sample_shape(evidence: Evidence) -> tuple[int, ...] | None:
    """Of the data set, if there was one."""
    record = evidence.dataset
    if record is None:
        return None
    shape = record.sample_shape
    if not shape or min(shape) < 1 or len(shape) not in (1, 3):
        raise InputRefused(f"the report's dataset.sample_shape cannot be meant: {shape}")
    return shape


def _check_space(
    record: PreprocessingRecord, evidence: Evidence, subject: Subject, data: Dataset | None, ledger: Ledger
) -> None:
    if data is not None or evidence.dataset is None:
        ledger.equal("preprocessing.threat_space", record.threat_space, subject.space)
        return
    known = record.threat_space in (INPUT_SPACE, FILE_SPACE) or record.threat_space.startswith(PIXEL_SPACE)
    if not known:
        ledger.differs("preprocessing.threat_space", record.threat_space, "no such space")
    ledger.unchecked.append("the space of the data set's images, which are not at hand")
