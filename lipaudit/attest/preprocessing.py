"""Who says how samples enter the network?  What a report claims about that is held against the model.

    stated by    the report's numbers must be                       with samples of pixels
    metadata     those of the model's metadata                      only if these tell scale, mean or std
    default      x itself                                           never: the usual conventions are tried
    flags        any; that they were stated is the report's word
    assumed      those of a usual convention, metadata silent       tried again, if the data set is at hand

The layout of samples that fit in several ways is tried as well, where nobody states it.  Radii rest on these
numbers, so nothing of this is taken from the report that the model or the data can tell.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from lipaudit.attest.ledger import Ledger
from lipaudit.data import FILE_SPACE, PIXEL_SPACE, Dataset
from lipaudit.data.conventions import STATED, Convention, fitting
from lipaudit.data.threat import layouts_for
from lipaudit.errors import Incomplete
from lipaudit.load import LoadedModel, Preprocessing
from lipaudit.report.assemble import preprocessing_record
from lipaudit.report.inputs import AssumptionRecord, DatasetRecord, PreprocessingRecord
from lipaudit.report.model import Evidence
from lipaudit.subject import Stated, Trying, find_again

__all__ = ["Samples", "check_source"]

FROM_METADATA = {"metadata": True, "flags and metadata": True, "default": False, "flags": False}
"""Sources that are not found by trial, and whether the model's metadata say something then."""


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """The data set at hand, and how conventions are tried on it."""

    data: Dataset
    trying: Trying


def check_source(
    loaded: LoadedModel, evidence: Evidence, used: Preprocessing, samples: Samples | None, ledger: Ledger
) -> None:
    """Whether the preprocessing comes from where the report says.

    Args:
        loaded: the model, with its metadata.
        evidence: what is claimed.
        used: its preprocessing.
        samples: None if the data set is not at hand.
        ledger: is told of everything.

    Raises:
        LipauditError: as an audit, where samples and model do not fit.
    """
    record, own = evidence.preprocessing, _own(loaded)
    if record.source == "assumed":
        if evidence.dataset is None:
            ledger.differs("preprocessing.source", "assumed", "without a data set nothing can be tried")
        elif own is not None and not own.silent:
            ledger.differs("preprocessing.source", "assumed", "the model's metadata state it")
        else:
            _check_assumed(loaded, evidence.dataset, record, used, samples, ledger)
        return
    said = FROM_METADATA.get(record.source)
    if said is None:
        ledger.differs("preprocessing.source", record.source, f"assumed, {', '.join(FROM_METADATA)}")
    elif said != (own is not None):
        found = "has no metadata about it" if said else "has metadata about it"
        ledger.differs("preprocessing.source", record.source, f"the model {found}")
    elif "flags" not in record.source:
        ledger.equal("preprocessing (scale, mean, std)", _numbers(used), _numbers(own or Preprocessing()))
        _check_silence(loaded, evidence, own, samples, ledger)
    else:
        ledger.unchecked.append("the preprocessing was stated by whoever ran the audit")
    _check_layout(loaded, evidence, used, samples, ledger)


def _own(loaded: LoadedModel) -> Preprocessing | None:
    own = loaded.preprocessing
    return None if own is None or own.source == "default" else own


def _numbers(p: Preprocessing | Convention) -> object:
    return p.scale, p.mean, p.std


def _check_silence(
    loaded: LoadedModel,
    evidence: Evidence,
    own: Preprocessing | None,
    samples: Samples | None,
    ledger: Ledger,
) -> None:
    """Where nobody says anything about the numbers, an audit tries them on samples of pixels."""
    if evidence.dataset is None or loaded.reference is None or (own is not None and not own.silent):
        return
    record = evidence.preprocessing
    in_pixels = record.threat_space.startswith(PIXEL_SPACE) if samples is None else samples.data.in_pixels
    if in_pixels:
        ledger.differs(
            "preprocessing.source",
            record.source,
            "nobody states scale, mean or std: they would have been tried",
        )
    elif samples is None and record.threat_space != FILE_SPACE:
        ledger.unproved.append(
            "that no preprocessing had to be found: are the images pixels? it takes --dataset"
        )


def _check_layout(
    loaded: LoadedModel, evidence: Evidence, used: Preprocessing, samples: Samples | None, ledger: Ledger
) -> None:
    """A layout that nobody stated is the only one that fits, or was tried."""
    record, own, data = evidence.preprocessing, _own(loaded), evidence.dataset
    told = record.assumption
    if data is None:
        if told is not None:
            ledger.differs("preprocessing.assumption", told.convention, "without a data set nothing is tried")
        if "flags" not in record.source:
            ledger.equal("preprocessing.layout", record.layout, None if own is None else own.layout)
        return
    stated = None if own is None else own.layout
    layouts = layouts_for(data.sample_shape or (), loaded.input_shape[1:], stated)
    is_open = len(layouts) > 1 and loaded.reference is not None
    if "flags" not in record.source:
        if record.layout not in layouts:
            ledger.differs("preprocessing.layout", record.layout, " or ".join(layouts))
        if is_open and told is None:
            ledger.differs("preprocessing.assumption", None, "the layout would have been tried")
    if told is None:
        return
    if not is_open:
        ledger.differs("preprocessing.assumption", told.convention, "nothing had to be assumed")
    elif ledger.equal("preprocessing.assumption.convention", told.convention, f"{STATED} {record.layout}"):
        meant = (Stated(replace(used, layout=None), values_open=False),)
        _repeat(loaded, told, iter(meant), samples, ledger)


def _check_assumed(
    loaded: LoadedModel,
    data: DatasetRecord,
    record: PreprocessingRecord,
    used: Preprocessing,
    samples: Samples | None,
    ledger: Ledger,
) -> None:
    """One of the usual conventions, and the one that comes out when they are tried."""
    told = record.assumption
    usual = fitting(data.name, data.sample_shape or ())
    names = [f"{c.name} {record.layout}" for c in usual if _numbers(c) == _numbers(used)]
    if told is None or told.convention not in names:
        claimed = None if told is None else told.convention
        ledger.differs("preprocessing.assumption", claimed, " or ".join(names) or "no usual convention")
        return
    base = _own(loaded) or Preprocessing()
    # Whether the layout was stated the report does not say; both are what an audit may have begun with.
    layouts = dict.fromkeys((base.layout, record.layout))
    meant = (Stated(replace(base, layout=layout), values_open=True) for layout in layouts)
    _repeat(loaded, told, meant, samples, ledger)


def _repeat(
    loaded: LoadedModel,
    told: AssumptionRecord,
    meant: Iterator[Stated],
    samples: Samples | None,
    ledger: Ledger,
) -> None:
    """Try the conventions again: what comes out, and whether it is clear, must be what is told."""
    if samples is None:
        ledger.unproved.append(
            f"that {told.convention} is the preprocessing: to try it again takes the data set (--dataset)"
        )
        return
    shown, close = "nothing had to be assumed", None
    for stated in meant:
        try:
            found = find_again(loaded, stated, samples.data, samples.trying)
        except Incomplete as error:
            shown = str(error)
            continue
        if found is None:
            continue
        now = preprocessing_record("", None, found.preprocessing, found).assumption
        if now == told:
            ledger.proved.append(f"the preprocessing: tried again on samples, {told.convention} comes out")
            return
        if now is not None and _result(now) == _result(told):
            close = now
        shown = str(now)
    if close is None:
        ledger.differs("preprocessing.assumption", told, shown)
    else:
        ledger.unproved.append(
            f"the counts by which {told.convention} was found: tried again they are {close}"
        )


def _result(found: AssumptionRecord) -> tuple[str, bool, bool]:
    return found.convention, found.clear, found.plausible
