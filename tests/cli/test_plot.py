"""`--plot` and `-o` with the HTML and SVG formats."""

import sample_report as sample

from lipaudit.report import to_html, to_svg


def test_plot_is_the_curve(run, pipeline, model, tmp_path):
    pipeline.report = sample.report()
    one, two = tmp_path / "a.svg", tmp_path / "b.picture"
    done = run(model, "-d", "mnist", "-o", one, "--plot", two)
    assert done.code == 0
    assert one.read_text() == two.read_text() == to_svg(pipeline.report)


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
