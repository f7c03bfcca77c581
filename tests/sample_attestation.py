"""Keys, signed reports and hostile envelopes, for the tests of attestations."""

from __future__ import annotations

import base64
import copy
import json
from datetime import UTC, datetime

import sample_report as sample
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from lipaudit.attest import envelope as dsse
from lipaudit.attest.keys import PrivateKey, read_private, read_public
from lipaudit.attest.statement import payload_of
from lipaudit.report import canonical

AT = datetime(2026, 11, 29, 12, 0, tzinfo=UTC)
PHRASE = "correct horse"


def pem_of(key, passphrase=None) -> bytes:
    encryption = (
        serialization.NoEncryption()
        if passphrase is None
        else serialization.BestAvailableEncryption(passphrase.encode())
    )
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def public_pem_of(key) -> bytes:
    return key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )


RAW = {
    "ed25519": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
    "p256": ec.derive_private_key(12345, ec.SECP256R1()),
    "another": ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(1, 33))),
}
FOREIGN = {
    "RSA": rsa.generate_private_key(65537, 2048),
    "secp384r1": ec.derive_private_key(12345, ec.SECP384R1()),
    "secp256k1": ec.derive_private_key(12345, ec.SECP256K1()),
}


def private(name: str) -> PrivateKey:
    return read_private(pem_of(RAW[name]), f"{name}.pem", lambda: PHRASE)


def public(name: str):
    return read_public(public_pem_of(RAW[name]), f"{name}.pub.pem")


KEY = private("ed25519")


def report_text(verdict: str = "pass", **changes) -> str:
    return canonical.to_json(canonical.sealed(sample.report(verdict, **changes)))


def statement(**changes) -> dict:
    """What is signed about a sample report, as a document that may be changed."""
    return json.loads(payload_of(report_text(**changes), AT))


def signed(document: dict, key: PrivateKey = KEY) -> str:
    """Whatever it says, under a valid signature."""
    return dsse.signed(json.dumps(document).encode(), key)


def envelope(key: PrivateKey = KEY, **changes) -> dict:
    return json.loads(dsse.attested(payload_of(report_text(**changes), AT), key))


def edited(document: dict, path: str, value) -> dict:
    """A copy with another value at a dotted path; None removes the field."""
    new = copy.deepcopy(document)
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = new
    for parent in parents:
        inner = inner[parent]
    if value is None:
        del inner[last]
    else:
        inner[last] = value
    return new


def resealed(document: dict) -> dict:
    """The digest of the evidence made to fit."""
    digest = canonical.digest_of(document["predicate"]["evidence"])
    return edited(document, "predicate.evidence_sha256", digest)


def decoded(text: str) -> bytes:
    return base64.b64decode(text)
