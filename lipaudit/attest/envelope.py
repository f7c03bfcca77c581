"""DSSE envelopes: a payload, its type, and signatures over both.

    SIGNATURE = Sign(PAE(type, payload)),   PAE(t, p) = "DSSEv1 " ‖ |t| ‖ " " ‖ t ‖ " " ‖ |p| ‖ " " ‖ p

with lengths in bytes, as decimals.  The signature is checked before a byte of the payload is parsed.  `keyid`
is a hint that nobody signed, so nothing is decided by it: every signature is tried with the given key.

Secure Systems Lab, "DSSE: Dead Simple Signing Envelope", protocol.md and envelope.md, v1.0.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any, Final

from lipaudit.attest.keys import PrivateKey, PublicKey
from lipaudit.attest.statement import Statement, read_statement
from lipaudit.errors import InputRefused
from lipaudit.report.canonical import parsed

__all__ = ["LARGEST", "MOST_SIGNATURES", "PAYLOAD_TYPE", "attested", "is_envelope", "opened", "pae", "signed"]

PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
LARGEST: Final = 2**26
"""Bytes of an envelope, or of a report that is attested.  With the results of 50,000 samples it has 8 MB."""
MOST_SIGNATURES: Final = 16
"""Each costs a pass over the payload."""

_WHAT = "DSSE envelope"
_HINT = "give the file that `lipaudit attest` wrote, unchanged"
_STANDARD = str.maketrans("-_", "+/")


def pae(payload_type: str, payload: bytes) -> bytes:
    """The bytes that are signed: type and payload, with lengths, so that neither can pass for the other."""
    kind = payload_type.encode("utf-8")
    return b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)


def signed(payload: bytes, key: PrivateKey) -> str:
    """An envelope with one signature, as one line of JSON."""
    signature = key.sign(pae(PAYLOAD_TYPE, payload))
    envelope = {
        "payloadType": PAYLOAD_TYPE,
        "payload": base64.standard_b64encode(payload).decode(),
        "signatures": [{"keyid": key.public.keyid, "sig": base64.standard_b64encode(signature).decode()}],
    }
    return json.dumps(envelope) + "\n"


def attested(payload: bytes, key: PrivateKey) -> str:
    """The attestation of a report's payload (`statement.payload_of`), which reads back.

    Raises:
        InputRefused: if it would be larger than what is read.
    """
    text = signed(payload, key)
    if len(text) > LARGEST:
        raise InputRefused(
            f"the attestation would be larger than {LARGEST >> 20} MiB", hint="audit fewer samples: --limit N"
        )
    opened(text, key.public)
    return text


def opened(text: str, key: PublicKey) -> Statement:
    """What the owner of `key` attested: signature, types and digests are checked, in this order.

    Args:
        text: the envelope.
        key: of somebody you trust; it must come from elsewhere than the envelope.

    Raises:
        InputRefused: if no signature is this key's, or what is signed is no consistent statement of ours.
    """
    return read_statement(_signed_payload(text, key))


def is_envelope(document: Mapping[str, Any]) -> bool:
    """Whether a JSON object is meant to be an envelope (a report has none of these names)."""
    return "payloadType" in document or "signatures" in document


def _signed_payload(text: str, key: PublicKey) -> bytes:
    """The payload, if one of the signatures is the key's and the type is ours."""
    if len(text) > LARGEST:
        raise InputRefused(f"this envelope is larger than {LARGEST >> 20} MiB", hint=_HINT)
    envelope = parsed(text, what=_WHAT, hint=_HINT)
    payload = _decoded(_text(envelope, "payload"), "payload")
    message = pae(_text(envelope, "payloadType"), payload)
    signatures = _signatures(envelope)
    if not any(key.verifies(signature, message) for signature in signatures):
        raise InputRefused(
            f"no signature here is by the key {key.keyid[:16]}…: this was changed, or signed by another",
            hint=_signers(envelope, key),
        )
    if envelope["payloadType"] != PAYLOAD_TYPE:
        raise InputRefused(
            f"this envelope holds {envelope['payloadType'][:100]!r}, not {PAYLOAD_TYPE}", hint=_HINT
        )
    return payload


def _signatures(envelope: Mapping[str, Any]) -> list[bytes]:
    entries = envelope.get("signatures")
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputRefused(f"not a {_WHAT}: signatures is no list of objects", hint=_HINT)
    if not 0 < len(entries) <= MOST_SIGNATURES:
        raise InputRefused(
            f"this envelope has {len(entries)} signatures, not 1 to {MOST_SIGNATURES}", hint=_HINT
        )
    for entry in entries:
        _text({"keyid": "", **entry}, "keyid")
    return [_decoded(_text(entry, "sig"), "sig") for entry in entries]


def _signers(envelope: Mapping[str, Any], key: PublicKey) -> str:
    """What the envelope says about its signers; nobody signed that."""
    told = {str(entry.get("keyid", "")) for entry in envelope["signatures"]}
    if key.keyid in told:
        return "it names this very key, so it was changed after it was signed: ask for the original"
    return "it names other keys; give the public key of whoever signed: --key"


def _text(fields: Mapping[str, Any], name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str):
        raise InputRefused(f"not a {_WHAT}: {name} is no text", hint=_HINT)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as error:
        raise InputRefused(f"not a {_WHAT}: {name} is no Unicode text", hint=_HINT) from error
    return value


def _decoded(text: str, name: str) -> bytes:
    """Base64 with either alphabet, padded, of one spelling only: no white space, no bits left over."""
    try:
        data = base64.b64decode(text.translate(_STANDARD), validate=True)
    except ValueError as error:
        raise InputRefused(f"not a {_WHAT}: {name} is no base64: {error}", hint=_HINT) from error
    if text.encode() not in (base64.standard_b64encode(data), base64.urlsafe_b64encode(data)):
        raise InputRefused(f"not a {_WHAT}: {name} is no canonical base64", hint=_HINT)
    return data
