"""`--plot` and `-o` with the HTML and SVG formats."""

import pytest
import sample_report as sample

from lipaudit.report import to_html, to_svg


def test_plot_is_the_curve(run, pipeline, model, tmp_path):
    pipeline.report = sample.report()
    one, two = tmp_path / "a.svg", tmp_path / "b.SVG"
    done = run(model, "-d", "mnist", "-o", one, "--plot", two)
    assert done.code == 0
    assert one.read_text() == two.read_text() == to_svg(pipeline.report)


@pytest.mark.parametrize("name", ["c.png", "c.pdf", "c", "-", "", "svg=c.svgz"])
def test_a_plot_is_called_one(run, pipeline, model, tmp_path, name):
    place = tmp_path / name if name.startswith("c") else name
    done = run(model, "-d", "mnist", "--plot", place)
    assert done.code == 2
    assert "a plot is SVG, so its name ends in .svg" in done.err
    assert pipeline.calls == []
    assert list(tmp_path.iterdir()) == [model]


def test_html_by_suffix_or_name(run, pipeline, model, tmp_path):
    one, two = tmp_path / "a.html", tmp_path / "b.HTM"
    done = run(model, "-o", one, "-o", two, "-o", "html=-")
    assert one.read_text() == two.read_text() == done.out == to_html(pipeline.report)


def test_a_plot_needs_samples(run, pipeline, model, tmp_path):
    for arguments in (("--plot", tmp_path / "a.svg"), ("-o", tmp_path / "a.svg")):
        done = run(model, *arguments)
        assert done.code == 2
        assert "a plot of certified accuracy needs a data set" in done.err
    assert pipeline.calls == []
    assert not list(tmp_path.glob("*.svg"))


def test_one_place_for_two_reports(run, pipeline, model, tmp_path):
    done = run(model, "-d", "mnist", "-o", tmp_path / "a.svg", "--plot", tmp_path / "a.svg")
    assert done.code == 2
    assert "two outputs go to" in done.err
    assert pipeline.calls == []
