"""The table of formats: one row each, no name or suffix twice."""

import pytest
import sample_report as sample

from lipaudit.report import FORMATS, SUFFIXES, _by_name, _by_suffix


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_renders_every_verdict(name):
    for verdict in sample.CODES:
        text = FORMATS[name].render(sample.report(verdict))
        assert text.endswith("\n")
        assert text.encode()


def test_formats_are_called_what_they_are_called():
    assert all(name == row.name for name, row in FORMATS.items())
    assert {s: row.name for s, row in SUFFIXES.items()} == {".txt": "text", ".json": "json"}


def test_duplicates_are_impossible():
    row = FORMATS["json"]
    with pytest.raises(ValueError, match="two report formats"):
        _by_name((row, row))
    with pytest.raises(ValueError, match="both claim"):
        _by_suffix((row, row))
