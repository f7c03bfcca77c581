"""Why a text is no report: what happened to the file, not where a parser stumbled."""

import json

import pytest
import sample_report as sample
from hypothesis import given, settings
from hypothesis import strategies as st

from lipaudit.errors import InputRefused
from lipaudit.report.canonical import from_json, parsed, sealed, stored_report, to_json
from lipaudit.report.refusal import CUT

REPORT = to_json(sealed(sample.report(budgets=(sample.budget(),))))
LEAVES = (
    st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text()
)
NESTED = st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=8)


def why(text):
    with pytest.raises(InputRefused, match="not a lipaudit report: ") as raised:
        stored_report(text)
    return raised.value.message.removeprefix("not a lipaudit report: ")


def edited(edit):
    document = json.loads(REPORT)
    edit(document)
    return why(json.dumps(document))


@settings(max_examples=60)
@given(st.dictionaries(st.text(), NESTED, min_size=1), st.data(), st.booleans())
def test_what_is_cut_off_anywhere_ends_in_the_middle(document, data, ascii_only):
    text = json.dumps(document, ensure_ascii=ascii_only, indent=data.draw(st.sampled_from([None, 1])))
    cut = text[: data.draw(st.integers(1, len(text) - 1))]
    assert why(cut).startswith(CUT)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.5, 0.9, 0.999])
def test_the_line_is_told(share):
    cut = REPORT[: int(share * len(REPORT))].rstrip()
    assert why(f"{cut}\n\n") == f"{CUT}, in line {len(cut.splitlines())}: it was cut off"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the file is empty"),
        (" \n", "the file is empty"),
        ("<!doctype html><p>", "no JSON: it begins with <!doctype ht"),
        ("\x1b[2J", r"no JSON: it begins with \x1b[2J"),
        (f"{REPORT}{{}}", f"something follows the end of the JSON, in line {REPORT.count(chr(10)) + 1}"),
        ('{"a": 1,\n  b: 2}', "no JSON from line 2, column 3 on"),
        ('{"a": 1 "b": 2}', "no JSON from line 1, column 9 on"),
        ('{"a": "\\q", "b": "long enough"}', "no JSON from line 1, column 8 on"),
        ("[" * 100_000, "nested too deeply"),
        ('{"a": 1, "b": 2, "a": 3}', "a stands twice in one object"),
        ('{"a": NaN}', "NaN is no JSON number"),
        ("[1]", "no JSON object"),
        ('{"a": 1}', "it has no schema_version and no evidence"),
        ('{"schema_version": "1.1"}', "it has no evidence"),
        ('{"payloadType": "x"}', "it is an attestation, which `lipaudit verify` reads"),
        ('{"schema_version": "9.0", "evidence": {}}', "its schema is 9.0"),
        ('{"schema_version": ["\\u001b"], "evidence": {}}', r"its schema is ['\x1b']"),
    ],
    ids=range(17),
)
def test_what_happened_to_the_file(text, said):
    assert why(text) == said


def test_which_field_and_why():
    evidence = {
        "evidence.layers is missing": lambda e: e.pop("layers"),
        "evidence.more is no field of this schema": lambda e: e.update(more=1),
        "evidence.layers.0.name should be text": lambda e: e["layers"][0].update(name=5),
        "evidence.layers.0.upper should be an object": lambda e: e["layers"][0].update(upper=None),
        "evidence.layers should be a list": lambda e: e.update(layers=7),
        "evidence.budgets.0.outcome should be 'pass', 'fail' or 'inconclusive'": lambda e: e["budgets"][
            0
        ].update(outcome="x"),
        "evidence.model.weights_sha256 is not written as it should be": lambda e: e["model"].update(
            weights_sha256="x"
        ),
        r"evidence.\x1b is no field of this schema": lambda e: e.update({"\x1b": 1}),
    }
    for said, edit in evidence.items():
        assert edited(lambda d, edit=edit: edit(d["evidence"])) == said
    assert edited(lambda d: d.update(evidence=None)) == "evidence should be an object"
    assert edited(lambda d: d.update(exit_code=1)) == "verdict 'pass' does not end with exit code 1"


def test_the_hint_tells_what_to_give():
    with pytest.raises(InputRefused) as raised:
        from_json(REPORT[:100])
    assert "whole, as `-o report.json` writes it" in raised.value.hint


def test_other_documents_are_called_what_they_are():
    with pytest.raises(InputRefused, match=r"^not a letter: the file is empty"):
        parsed("", what="letter", hint="write one")
