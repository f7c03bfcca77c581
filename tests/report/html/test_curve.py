"""Pictures: the curve in the page and by itself, and the histogram."""

import math
import re
from xml.etree import ElementTree as ET

import pytest
import sample_report as sample

from lipaudit.report.html import to_svg
from lipaudit.report.html.accuracy import radius_at
from lipaudit.report.html.curve import axis_end, beyond_axis, curve_picture
from lipaudit.report.html.histogram import bins_of
from lipaudit.report.model import SampleRecord, Tally
from lipaudit.report.number import Unbounded

SVG = "{http://www.w3.org/2000/svg}"


def parsed(text):
    return ET.fromstring(text)


def of_radii(*radii, asked=("1/2",), **changes):
    n = len(radii)
    rows = tuple(
        SampleRecord(
            index=i,
            label=0,
            predicted=0,
            margin=1.0,
            radius=Unbounded() if r == math.inf else r,
            correct=True,
        )
        for i, r in enumerate(radii)
    )
    fields = {
        "samples": rows,
        "clean_accuracy": Tally(count=n, n=n),
        "curve": tuple(sample.point(e, sum(r > float(eval(e)) for r in radii), n, n) for e in asked),  # noqa: S307
    }
    return sample.robustness(**(fields | changes))


def corners(robustness, size=(640, 400)):
    """The drawn curve, back in radii and counts: (radius, count just below it)."""
    end, n = axis_end(robustness), robustness.clean_accuracy.n
    picture = curve_picture(sample.evidence(), robustness, size, "x")
    (path,) = [p.get("d") for p in picture.iter("path") if p.get("class") == "proved"]
    x, y, found = 0.0, 0.0, []
    for letter, one, two in re.findall(r"([MHV])([\d.]+)(?: ([\d.]+))?", path):
        if letter == "H":
            x = float(one)
            found.append((end * (x - 66) / (size[0] - 84), n * (1 - (y - 40) / (size[1] - 90))))
        else:
            y = float(two or one)
    return found


def test_the_path_is_the_steps():
    drawn = corners(of_radii(0.25, 0.5, 0.5, 1.0))
    assert [(round(r, 2), round(c, 1)) for r, c in drawn[:3]] == [(0.25, 4.0), (0.5, 3.0), (1.0, 1.0)]
    assert drawn[-1][1] == pytest.approx(0, abs=0.02)


def test_no_height_is_above_the_count():
    radii = [math.sin(k) ** 2 for k in range(997)]
    for radius, count in corners(of_radii(*radii)):
        assert count <= sum(r > radius - 1e-3 for r in radii) + 1e-9


def test_there_are_no_slopes():
    picture = curve_picture(sample.evidence(), of_radii(0.25, 0.5, 1.0), (640, 400), "x")
    for path in picture.iter("path"):
        assert re.fullmatch(r"M[\d.]+ [\d.]+([HV][\d.]+)+Z?", path.get("d"))


def test_asked_radii_beyond_all_certificates_are_named_instead_of_drawn():
    robustness = of_radii(0.01, 0.02, asked=("1/20", "1/2", "1"))
    assert axis_end(robustness) < 0.06
    assert [p.eps_exact for p in beyond_axis(robustness)] == ["1/2", "1"]
    assert beyond_axis(of_radii(0.5, 1.0, asked=("1/2", "1"))) == ()


@pytest.mark.parametrize(
    "robustness",
    [of_radii(math.inf), of_radii(0.0), of_radii(1e-300), of_radii(1e300, 1.0), of_radii(0.5, asked=())],
    ids=["unbounded", "none", "tiny", "huge", "nothing asked"],
)
def test_extremes_can_be_drawn(robustness):
    text = to_svg(sample.report(robustness=robustness))
    assert parsed(text).tag == f"{SVG}svg"
    assert "nan" not in text
    assert "inf" not in text.replace("infinite", "")


def test_the_plot_stands_alone():
    text = to_svg(sample.report())
    root = parsed(text)
    assert text.startswith('<?xml version="1.0" encoding="UTF-8"?>\n')
    assert "style" not in text
    assert "href" not in text
    words = " ".join(node.text for node in root.iter(f"{SVG}text"))
    assert "l2 radius in pixel [0,1]" in words
    assert "share of 10,000 samples" in words
    assert "70.12 %" in words
    assert "certified (proved)" in words
    description = root.find(f"{SVG}desc").text
    assert "7,012 of 10,000 are certified at 36/255" in description


def test_the_plot_is_black_on_white():
    root = parsed(to_svg(sample.report()))
    (ground,) = [r for r in root.iter(f"{SVG}rect") if r.get("width") == "100%"]
    assert ground.get("fill") == "#fff"
    colours = {node.get("stroke") for node in root.iter() if node.get("stroke")}
    assert colours == {"#000", "#ccc", "#fff"}


@pytest.mark.parametrize(
    "changes",
    [
        {"robustness": None, "dataset": None},
        {"robustness": of_radii(asked=())},
    ],
)
def test_without_samples_the_plot_says_so(changes):
    text = to_svg(sample.report(**changes))
    assert parsed(text).find(f"{SVG}path") is None
    assert "No sample was evaluated" in text


def test_bins_hold_every_sample_once():
    radii = [k / 10 for k in range(1, 31)]
    bins = bins_of(of_radii(0.0, math.inf, *radii))
    assert (bins.none, bins.without_end, sum(bins.counts)) == (1, 1, 30)
    for low, high, count in zip(bins.edges, bins.edges[1:], bins.counts, strict=False):
        assert count == sum(low <= r < high for r in radii)


def test_no_bins_without_radii():
    assert bins_of(of_radii(0.5, samples=None)) is None
    assert bins_of(of_radii(0.0)).counts == ()


def test_the_radius_of_a_share():
    """Of four samples three quarters have a radius of 0.5 at least, all of them 0.25."""
    robustness = of_radii(0.25, 0.5, 0.75, 1.0)
    assert [radius_at(robustness, share) for share in (100, 76, 75, 50, 1)] == [0.25, 0.25, 0.5, 0.75, 1.0]
    assert radius_at(of_radii(0.0, 1.0), 95) is None


@pytest.mark.parametrize(
    "asked",
    [
        ("36/255", "72/255", "108/255", "1/2", "1"),
        ("1", "1/2"),
        ("1/100", "2/100", "3/100", "4/100"),
        ("9/10", "91/100", "19/10"),
        ("1",),
    ],
)
def test_no_share_stands_above_another_radius(asked):
    robustness = of_radii(*(k / 100 for k in range(200)), asked=asked)
    text = to_svg(sample.report(robustness=robustness))
    marks = [float(c.get("cx")) for c in parsed(text).iter(f"{SVG}circle") if c.get("cy") != "14"]
    shares = [t for t in parsed(text).iter(f"{SVG}text") if t.get("class") == "value"]
    assert len(marks) == len(asked)
    assert shares
    for share in shares:
        x, width = float(share.get("x")), 7.0 * len(share.text)
        left = x if share.get("text-anchor") == "start" else x - width
        own = min(marks, key=lambda mark: abs(mark - x))
        assert not any(left < mark < left + width for mark in marks if mark != own)


@pytest.mark.parametrize("certified", range(80, 100))
def test_no_label_lies_on_the_dashed_line(certified):
    """12 pixels of digits, wherever the curve is just below what no method can exceed."""
    for possible in {max(certified, 97), 100}:
        robustness = of_radii(*[1.0] * certified, *[0.2] * (100 - certified), asked=("1/2",))
        (point,) = robustness.curve
        curve = (point.model_copy(update={"possible_count": possible}),)
        robustness = robustness.model_copy(
            update={"curve": curve, "clean_accuracy": Tally(count=possible, n=100)}
        )
        picture = curve_picture(sample.evidence(), robustness, (640, 400), "x")
        (label,) = [t for t in picture.iter("text") if t.text == f"{certified}.00 %"]
        dashed = 40 + (400 - 90) * (1 - possible / 100)
        baseline = float(label.get("y"))
        assert not baseline - 10 < dashed < baseline + 2
        assert baseline <= 40 + (400 - 90) * (1 - certified / 100) - 4
