"""What moved between two reports, and what cannot be compared."""

import json

import pytest
import sample_report as sample

from lipaudit.bound import Bound, Estimate
from lipaudit.cli import main
from lipaudit.report import to_json as report_json
from lipaudit.report.canonical import sealed
from lipaudit.report.changes import changes
from lipaudit.report.changes_text import to_json, to_text
from lipaudit.report.model import NetworkBracket, SampleRecord, Tally

PLAIN = sample.report()


def moved(**fields):
    return changes(PLAIN, sample.report(**fields))


def told(part):
    return {change.what: (change.before, change.after) for change in part}


def test_a_report_equals_itself():
    found = changes(PLAIN, PLAIN)
    assert found.nothing
    assert to_text(found).endswith("\nnothing moved\n")
    assert json.loads(to_json(found))["same"] is True


def test_the_network():
    found = moved(global_=NetworkBracket.of(Bound.unbounded("why"), Estimate(4.5, "ascent")))
    assert told(found.network)["upper"] == (15.25, "unbounded")
    assert told(found.network)["lower"] == (4.5625, 4.5)
    assert "upper: 15.25 → unbounded" in to_text(found)


def test_models_and_data():
    model = PLAIN.evidence.model.model_copy(update={"weights_sha256": "f" * 64})
    data = PLAIN.evidence.dataset.model_copy(update={"fingerprint_sha256": "e" * 64})
    found = moved(model=model, dataset=data)
    assert told(found.model) == {"weights_sha256": (sample.DIGEST, "f" * 64)}
    assert told(found.dataset) == {"fingerprint_sha256": (sample.DIGEST, "e" * 64)}
    assert found.incomparable == ("accuracies: the samples are others (their fingerprints differ)",)


def test_another_threat_space_is_not_comparable():
    how = PLAIN.evidence.preprocessing.model_copy(update={"threat_space": "input"})
    found = moved(preprocessing=how)
    assert "distances are measured in pixel [0,1], then in input" in found.incomparable[0]
    assert to_text(found).splitlines()[1] == "not comparable:"


def test_one_report_without_data():
    found = moved(dataset=None, robustness=None)
    assert found.incomparable == ("accuracies: one of the reports evaluated no data set",)
    assert told(found.accuracy)["clean accuracy"] == ("9812 of 10000", None)


def layer(k, factor):
    row = sample.conv(k)
    upper = Bound.unbounded("why") if factor is None else Bound(row.upper.value * factor, "m")
    return type(row).of(row.name, row.op, upper, None, Bound(1.0, "m"))


def test_layers_largest_change_first():
    rows = (layer(0, 1.5), layer(1, 0.25), layer(2, None), sample.conv(7))
    found = moved(layers=rows)
    assert [change.layer for change in found.layers] == ["conv2", "conv1", "conv0"]
    assert [change.factor for change in found.layers] == [None, pytest.approx(0.25), pytest.approx(1.5)]
    assert (found.layers_added, found.layers_removed) == (("conv7",), ("conv3",))


def rows(*radii):
    return tuple(
        SampleRecord(index=k, label=1, predicted=1, margin=1.0, radius=radius, correct=radius > 0)
        for k, radius in enumerate(radii)
    )


def test_samples_that_gained_and_lost():
    def of(*radii):
        count = sum(radius > 0.5 for radius in radii)
        return sample.robustness(
            clean_accuracy=Tally(count=4, n=4), curve=(sample.point("0.5", count, n=4),), samples=rows(*radii)
        )

    found = changes(
        sample.report(robustness=of(0.6, 0.6, 0.1, 0.1)), sample.report(robustness=of(0.4, 0.7, 0.9, 0.8))
    )
    (change,) = found.samples
    assert (change.eps, change.gained, change.lost) == ("0.5", (2, 3), (0,))
    assert told(found.accuracy) == {"certified at 0.5": ("2 of 4", "3 of 4")}
    assert "2 samples gained certification (2, 3), 1 sample lost certification (0)" in to_text(found)


def test_radii_of_one_curve_are_counted_in_the_other():
    one = sample.robustness(clean_accuracy=Tally(count=2, n=2), curve=(), samples=rows(0.2, 0.6))
    two = one.model_copy(update={"curve": (sample.point("0.3", 1, n=2),)})
    assert changes(sample.report(robustness=one), sample.report(robustness=two)).accuracy == ()


def test_verdict_budgets_and_findings():
    after = sample.report("fail", budgets=(sample.budget("fail"),), findings=(sample.finding(),))
    found = changes(sample.report(budgets=(sample.budget(),)), after)
    judged = told(found.judgement)
    assert judged["verdict"] == ("pass", "fail")
    assert judged["budget lipschitz"] == ("pass, limit 20", "fail, limit 20")
    assert len(found.findings_added) == 1
    assert changes(after, PLAIN).findings_removed == found.findings_added


def test_versions():
    run = PLAIN.run.model_copy(update={"versions": {"lipaudit": "0.2.0", "torch": "2.10"}})
    found = changes(PLAIN, PLAIN.model_copy(update={"run": run}))
    assert told(found.versions) == {"lipaudit": ("0.1.0", "0.2.0"), "torch": (None, "2.10")}


def test_a_long_list_is_counted_and_names_are_shown_as_codes():
    many = tuple(sample.conv(k).model_copy(update={"name": f"\x1b[2Jx{k}"}) for k in range(40))
    text = to_text(moved(layers=many))
    assert "… and 20 more" in text
    assert "\x1b" not in text
    assert len(json.loads(to_json(moved(layers=many)))["layers_added"]) == 40


def test_the_command(tmp_path, capfd):
    a, b = tmp_path / "a.json", tmp_path / "b.json"
    a.write_text(report_json(sealed(PLAIN)), encoding="utf-8")
    b.write_text(
        report_json(sealed(sample.report("incomplete", findings=(sample.finding("error"),)))),
        encoding="utf-8",
    )
    assert main(["diff", str(a), str(b)]) == 0
    assert "verdict: pass → incomplete" in capfd.readouterr().out
    assert main(["diff", str(a), str(a), "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["same"] is True
    assert main(["diff", str(a), str(tmp_path / "none.json")]) == 5
    capfd.readouterr()
    a.write_bytes(b"\x08\x07model")
    assert main(["diff", str(a), str(b)]) == 4
    assert "lipaudit diff-model" in capfd.readouterr().err
