"""What exactly was audited, and how: enough to tell whether a file at hand is the one this is about."""

from __future__ import annotations

from collections.abc import Iterable

from lipaudit.report.html.markup import Child, Markup, heading, stacking, table, tag
from lipaudit.report.inputs import AssumptionRecord, DatasetRecord, ModelRecord, PreprocessingRecord
from lipaudit.report.model import AuditReport, Run
from lipaudit.report.wording import NOT_ANALYSED, plural, shape_text, shown_up

__all__ = ["provenance_section"]

Facts = Iterable[tuple[str, Child]]


def provenance_section(report: AuditReport) -> Markup:
    """Model, preprocessing, data and run."""
    evidence = report.evidence
    data = evidence.dataset
    given = tag("p", f"{NOT_ANALYSED} none: only Lipschitz bounds were computed.")
    return tag(
        "section",
        heading(2, "Provenance", "provenance"),
        tag("p", _LEAD, class_="lead"),
        heading(3, "Model"),
        _list(_model(evidence.model)),
        _files(evidence.model),
        heading(3, "Preprocessing"),
        _list(_preprocessing(evidence.preprocessing)),
        heading(3, "Data set"),
        given if data is None else _list(_dataset(data)),
        heading(3, "Run"),
        _list(_run(report)),
        _command(report),
        aria_labelledby="provenance",
    )


_LEAD = "Compare the digests with those of your file: a report speaks of the file with this digest only."
_STAGES = 6


def _list(facts: Facts) -> Markup:
    pairs = [tag("div", tag("dt", name), tag("dd", value)) for name, value in facts]
    return tag("dl", *pairs, class_="facts")


def _model(model: ModelRecord) -> Facts:
    yield "name", model.name
    yield "format", model.format
    yield "read by", model.loader
    yield "trust", model.trust
    if model.architecture is not None:
        yield "architecture", model.architecture
    yield "weights (SHA-256)", tag("code", model.weights_sha256)
    check = model.conversion
    if check is None:
        yield "conversion", "none was needed"
    else:
        size = f"largest relative difference {shown_up(check.max_relative_difference, 2)}"
        yield "conversion", f"equals {check.reference} on {plural(check.inputs, 'input')}, {size}"
    yield "input", shape_text(model.input_shape[1:])
    yield "classes", NOT_ANALYSED if model.num_classes is None else str(model.num_classes)


def _files(model: ModelRecord) -> Markup:
    rows = [(f.name, f"{f.bytes:,}", tag("code", f.sha256)) for f in model.files]
    return stacking("Files of the model", ("file", "#bytes", "SHA-256"), rows)


def _preprocessing(how: PreprocessingRecord) -> Facts:
    yield "distances in", f"l2 in {how.threat_space}"
    yield "layout", how.layout or NOT_ANALYSED
    yield "scale", how.scale
    yield "mean", ", ".join(how.mean) or "0"
    yield "standard deviation", ", ".join(how.std) or "1"
    yield "stated by", how.source
    if how.assumption is not None:
        yield "assumed", _assumed(how.assumption)


def _assumed(found: AssumptionRecord) -> str:
    text = f"{found.convention} ({found.correct}/{found.samples} correct)"
    if found.runner_up is not None:
        text += f"; next best {found.runner_up} ({found.runner_up_correct}/{found.runner_up_samples})"
    return text if found.clear else f"{text}; not clearly better"


_OFFICIAL = {True: "the published bytes", False: "not the published bytes", None: "nothing to compare with"}


def _dataset(data: DatasetRecord) -> Facts:
    yield "name", data.name
    yield "evaluated", f"{data.num_evaluated:,} of {data.total:,} samples"
    if data.limit is not None:
        drawn = "the first ones" if data.seed is None else f"a draw with seed {data.seed}"
        yield "selection", f"{data.limit:,}, {drawn}"
    yield "published", _OFFICIAL[data.official]
    if data.resize or data.crop:
        sizes = [("resized to", data.resize), ("cropped to", data.crop)]
        told = [f"{word} {'×'.join(map(str, size))}" for word, size in sizes if size]
        yield "images", ", ".join([*told, *([data.interpolation] if data.interpolation else [])])
    yield "fingerprint (SHA-256)", tag("code", data.fingerprint_sha256)


def _run(report: AuditReport) -> Facts:
    run = report.run
    yield "started", tag("time", run.started, datetime=run.started)
    yield "took", f"{run.seconds:.1f} s{_stages(run)}"
    threads = "" if run.host.threads is None else f", {plural(run.host.threads, 'thread')}"
    yield "machine", f"{run.host.platform}, {run.host.device}{threads}"
    versions = sorted(run.versions.items())  # as a stored report has them
    yield "versions", ", ".join(f"{name} {version}" for name, version in versions) or NOT_ANALYSED
    yield "schema", report.schema_version
    digest = report.evidence_sha256
    yield "evidence (SHA-256)", NOT_ANALYSED if digest is None else tag("code", digest)


def _stages(run: Run) -> str:
    longest = sorted(run.stages.items(), key=lambda item: -item[1])[:_STAGES]
    told = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in longest)
    return f" ({told})" if told else ""


def _command(report: AuditReport) -> Markup | None:
    """The options of the run, those that say nothing left out; the data set by its name, without a path."""
    options = dict(report.run.command)
    data = report.evidence.dataset
    if "dataset" in options:
        options["dataset"] = None if data is None else data.name
    rows = [(name, _option(value)) for name, value in sorted(options.items()) if value not in (None, (), "")]
    if not rows:
        return None
    shown = table(
        "Options that were set; those that are not listed were left open", ("option", "value"), rows
    )
    return tag("details", tag("summary", "Options of the run"), shown)


def _option(value: object) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
