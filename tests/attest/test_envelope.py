"""Envelopes: the specification's example, other implementations, and every way to tamper with one."""

import base64
import json
import subprocess
from shutil import which

import pytest
import sample_attestation as s
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as draws

from lipaudit.attest import envelope as e
from lipaudit.attest.keys import read_private
from lipaudit.errors import InputRefused

PUBLIC = s.KEY.public
TEXT = json.dumps(s.envelope())
STATEMENT = e.opened(TEXT, PUBLIC)


def refused(envelope, match=None, key=PUBLIC):
    text = envelope if isinstance(envelope, str) else json.dumps(envelope)
    with pytest.raises(InputRefused, match=match):
        e.opened(text, key)


# What the specification says


def test_the_example_of_the_specification():
    # protocol.md, "Test Vectors": ECDSA on P-256; r and s are given one after the other there.
    x = 46950820868899156662930047687818585632848591499744589407958293238635476079160
    y = 5640078356564379163099075877009565129882514886557779369047442380624545832820
    raw = s.decoded(
        "A3JqsQGtVsJ2O2xqrI5IcnXip5GToJ3F+FnZ+O88SjtR6rDAajabZKciJTfUiHqJPcIAriEGAHTVeCUjW2JIZA=="
    )
    message = e.pae("http://example.com/HelloWorld", b"hello world")
    assert message == b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
    key = ec.EllipticCurvePublicNumbers(x, y, ec.SECP256R1()).public_key()
    signature = encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
    s.public("p256").algorithm.verify(key, signature, message)


def test_lengths_are_those_of_bytes():
    assert e.pae("é", "ü".encode()) == b"DSSEv1 2 \xc3\xa9 2 \xc3\xbc"
    assert e.pae("", b"") == b"DSSEv1 0  0 "


def test_the_first_key_of_rfc_8032_signs_a_known_answer():
    # RFC 8032, 7.1, test 1: the seed of this key.  The signature was computed by another program.
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    key = read_private(s.pem_of(ed25519.Ed25519PrivateKey.from_private_bytes(seed)), "k", str)
    sealed = json.loads(e.signed(b'{"_type":"https://in-toto.io/Statement/v1"}', key))
    known = "2WAfaHm5jluo0w+0rk8uVkluELJYWjSmU9x7EUzx+AyteDGJ4/nqyJXfmAUVFIAoQafWm7AxBZNw5M9ixNHiCA=="
    assert sealed["signatures"][0]["sig"] == known


@pytest.mark.parametrize("name", ["ed25519", "p256"])
@pytest.mark.skipif(which("openssl") is None, reason="no openssl on this machine")
def test_openssl_verifies_what_was_signed(tmp_path, name):
    envelope = s.envelope(s.private(name))
    payload = s.decoded(envelope["payload"])
    kind = b"application/vnd.in-toto+json"
    (tmp_path / "signed").write_bytes(b"DSSEv1 28 " + kind + f" {len(payload)} ".encode() + payload)
    (tmp_path / "sig").write_bytes(s.decoded(envelope["signatures"][0]["sig"]))
    (tmp_path / "pub.pem").write_bytes(s.public_pem_of(s.RAW[name]))
    command = {
        "ed25519": "openssl pkeyutl -verify -pubin -inkey pub.pem -rawin -in signed -sigfile sig",
        "p256": "openssl dgst -sha256 -verify pub.pem -signature sig signed",
    }[name]

    def accepts():
        done = subprocess.run(command.split(), cwd=tmp_path, capture_output=True, check=False, timeout=60)
        return done.returncode == 0

    assert accepts()
    (tmp_path / "signed").write_bytes(payload)
    assert not accepts()


@pytest.mark.parametrize("name", ["ed25519", "p256"])
def test_what_is_attested_is_opened(name):
    text = json.dumps(s.envelope(s.private(name)))
    assert e.opened(text, s.public(name)) == STATEMENT
    assert STATEMENT.predicate.evidence.model.files[0].name == "mnist_cnn.onnx"


def test_an_envelope_is_one_line_and_ed25519_makes_it_the_same_each_time():
    payload = s.decoded(s.envelope()["payload"])
    assert e.attested(payload, s.KEY) == e.attested(payload, s.KEY)
    assert e.attested(payload, s.KEY).count("\n") == 1


def test_envelopes_are_told_from_reports():
    assert e.is_envelope(s.envelope())
    assert not e.is_envelope(json.loads(s.report_text()))


# Keys and signatures


@pytest.mark.parametrize("name", ["another", "p256"])
def test_another_key_is_refused(name):
    refused(s.envelope(), "no signature here is by the key", s.public(name))
    refused(s.envelope(s.private("p256")), "no signature here is by the key")


def test_the_reason_tells_a_change_from_another_signer():
    with pytest.raises(InputRefused) as told:
        e.opened(TEXT, s.public("another"))
    assert "names other keys" in told.value.hint
    with pytest.raises(InputRefused) as told:
        e.opened(json.dumps(s.edited(s.envelope(), "signatures.0.sig", "AAAA")), PUBLIC)
    assert "this very key" in told.value.hint


def test_one_valid_signature_of_several_is_enough():
    both = s.envelope()
    both["signatures"] = s.envelope(s.private("p256"))["signatures"] + both["signatures"]
    for key in (PUBLIC, s.public("p256")):
        assert e.opened(json.dumps(both), key) == STATEMENT
    refused(both, "no signature", s.public("another"))
    without = s.edited(both, "signatures.1", None)
    assert e.opened(json.dumps(without), s.public("p256")) == STATEMENT
    refused(without, "no signature")


def test_no_more_signatures_are_tried_than_would_be_quick():
    envelope = s.envelope()
    ours, other = envelope["signatures"][0], {"sig": "AAAA"}
    assert e.opened(json.dumps(envelope | {"signatures": [other] * 15 + [ours]}), PUBLIC) == STATEMENT
    refused(envelope | {"signatures": [other] * 16 + [ours]}, "17 signatures")


@pytest.mark.parametrize("keyid", [None, "", "other", "0" * 64])
def test_the_keyid_is_a_hint(keyid):
    assert e.opened(json.dumps(s.edited(s.envelope(), "signatures.0.keyid", keyid)), PUBLIC) == STATEMENT


def test_a_signature_of_the_bare_payload_is_none():
    envelope = s.envelope()
    bare = s.KEY.sign(s.decoded(envelope["payload"]))
    refused(s.edited(envelope, "signatures.0.sig", base64.b64encode(bare).decode()), "no signature")


def test_the_signature_is_checked_before_the_payload_is_parsed(monkeypatch):
    envelope, payload = s.envelope(), base64.b64encode(b"{" * 1000).decode()
    monkeypatch.setattr(e, "read_statement", lambda _: pytest.fail("parsed what nobody signed"))
    refused(s.edited(envelope, "payload", payload), "no signature")
    refused(s.edited(envelope, "payloadType", "text/plain"), "no signature")
    with pytest.raises(pytest.fail.Exception):
        e.opened(TEXT, PUBLIC)


def test_another_payload_type_is_refused_though_it_was_signed():
    payload = s.decoded(s.envelope()["payload"])
    signature = s.KEY.sign(e.pae("application/json", payload))
    envelope = s.edited(s.envelope(), "payloadType", "application/json")
    sig = base64.b64encode(signature).decode()
    refused(s.edited(envelope, "signatures.0.sig", sig), "holds 'application/json'")


def test_signed_nonsense_is_refused():
    refused(e.signed(b"{}", s.KEY), "not a lipaudit attestation")
    refused(s.signed(s.edited(s.statement(), "predicateType", "https://example.com/x")), "predicateType")
    refused(s.signed(s.edited(s.statement(), "subject.0.digest.sha256", "0" * 64)), "another model")


# Encodings


@pytest.mark.parametrize("to", [base64.standard_b64encode, base64.urlsafe_b64encode])
def test_both_alphabets_are_read(to):
    envelope = s.envelope()
    envelope["payload"] = to(s.decoded(envelope["payload"])).decode()
    for field in envelope["signatures"]:
        field["sig"] = to(s.decoded(field["sig"])).decode()
    assert e.opened(json.dumps(envelope), PUBLIC) == STATEMENT


@pytest.mark.parametrize("path", ["payload", "signatures.0.sig"])
def test_base64_has_one_spelling(path):
    text = s.envelope()["payload"] if path == "payload" else s.envelope()["signatures"][0]["sig"]
    for bad in (
        text[:-1],
        text[:-2],
        text + "=",
        text + "\n",
        " " + text,
        text[:8] + "\n" + text[8:],
        text + "é",
    ):
        refused(s.edited(s.envelope(), path, bad), "base64|no signature")


def test_bits_left_over_in_base64_are_refused():
    assert base64.b64decode("AB==") == base64.b64decode("AA==")
    refused(s.edited(s.envelope(), "payload", "AB=="), "no canonical base64")
    refused(s.edited(s.envelope(), "payload", "-/-/"), "no canonical base64")


SHAPES = [
    ("payload", None),
    ("payload", 1),
    ("payload", ["e30="]),
    ("payloadType", None),
    ("payloadType", 1),
    ("payloadType", "\ud800"),
    ("signatures", None),
    ("signatures", {}),
    ("signatures", "x"),
    ("signatures", []),
    ("signatures", [1]),
    ("signatures.0", "x"),
    ("signatures.0.sig", None),
    ("signatures.0.sig", 1),
    ("signatures.0.sig", ""),
    ("signatures.0.keyid", 1),
]


@pytest.mark.parametrize(("path", "value"), SHAPES)
def test_other_shapes_are_refused(path, value):
    refused(s.edited(s.envelope(), path, value))


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "[" * 100_000, '{"payload": NaN}', "\ufeff{}", "{}", TEXT + TEXT]
)
def test_what_is_no_envelope_is_refused(text):
    refused(text, "not a DSSE envelope")


def test_names_stand_once():
    refused(TEXT.replace('"payload": ', '"payload": "e30=", "payload": ', 1), "twice")
    refused(TEXT.replace('"sig": ', '"sig": "", "sig": ', 1), "twice")


def test_unknown_fields_are_passed_over():
    assert e.opened(json.dumps(s.envelope() | {"more": [1]}), PUBLIC) == STATEMENT


def test_what_is_too_large_is_neither_read_nor_written(monkeypatch):
    monkeypatch.setattr(e, "LARGEST", len(TEXT))
    refused(TEXT + " ", "larger than")
    assert e.opened(TEXT, PUBLIC) == STATEMENT
    monkeypatch.setattr(e, "LARGEST", 100)
    with pytest.raises(InputRefused, match="would be larger"):
        e.attested(s.decoded(s.envelope()["payload"]), s.KEY)


# Every byte


def harmless_or_refused(data: bytes):
    """Nothing but InputRefused, or the very statement that was signed."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return
    try:
        found = e.opened(text, PUBLIC)
    except InputRefused:
        return
    assert found == STATEMENT


def places():
    """Where each class of byte stands: all of the frame, the ends and a sample of the payload."""
    start = TEXT.index(s.envelope()["payload"])
    end = start + len(s.envelope()["payload"])
    inside = [*range(start, start + 64), *range(start + 64, end - 64, 211), *range(end - 64, end)]
    return [*range(start), *inside, *range(end, len(TEXT))]


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_is_refused_or_harmless(bit):
    data = TEXT.encode()
    for place in places():
        harmless_or_refused(data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :])


@pytest.mark.parametrize("field", ["payload", "payloadType", "sig"])
def test_a_changed_sign_in_what_is_signed_is_refused(field):
    envelope = s.envelope()
    inner = envelope["signatures"][0] if field == "sig" else envelope
    original = inner[field]
    for place in sorted(
        {*range(40), *range(40, len(original), 97), *range(len(original) - 8, len(original))}
    ):
        if place < len(original) and original[place] not in "+/=":
            inner[field] = original[:place] + ("A" if original[place] != "A" else "B") + original[place + 1 :]
            refused(envelope)


@settings(max_examples=150, deadline=None)
@given(draws.data())
def test_edits_are_refused_or_harmless(data):
    raw = TEXT.encode()
    start = data.draw(draws.integers(0, len(raw)))
    stop = data.draw(draws.integers(start, min(len(raw), start + 20)))
    harmless_or_refused(raw[:start] + data.draw(draws.binary(max_size=20)) + raw[stop:])


@settings(max_examples=100, deadline=None)
@given(draws.text(max_size=30), draws.binary(max_size=60), draws.text(max_size=30), draws.binary(max_size=60))
def test_no_two_messages_share_an_encoding(kind, body, other_kind, other_body):
    same = (kind, body) == (other_kind, other_body)
    assert (e.pae(kind, body) == e.pae(other_kind, other_body)) == same


@settings(max_examples=100, deadline=None)
@given(
    draws.recursive(
        draws.none() | draws.integers() | draws.text(),
        lambda x: draws.lists(x) | draws.dictionaries(draws.text(), x),
    )
)
def test_whatever_is_signed_nothing_but_a_refusal_comes_of_it(document):
    harmless_or_refused(e.signed(json.dumps(document).encode(), s.KEY).encode())
    harmless_or_refused(json.dumps(document).encode())
