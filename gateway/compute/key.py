"""Public keys and certificates: their fingerprints, and fresh ones. Nothing about where they are kept.

Source: RFC 4253 §6.6 (fingerprints as Nova shows them are MD5 over the key blob); X.509 over SHA-1.
"""

import base64
import hashlib
from datetime import UTC, datetime, timedelta
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_ssh_public_key,
)
from cryptography.hazmat.primitives.serialization.pkcs12 import serialize_key_and_certificates
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier

_VALID: Final = timedelta(days=3650)
_NAME_LENGTH_MAX: Final = 64  # of a common name
_USER_PRINCIPAL: Final = ObjectIdentifier("1.3.6.1.4.1.311.20.2.3")


def _colons(digest: str) -> str:
    return ":".join(digest[n : n + 2] for n in range(0, len(digest), 2))


def ssh_fingerprint(public_key: str) -> str:
    """The fingerprint of an OpenSSH public key. Raises ValueError for what is none."""
    try:
        load_ssh_public_key(public_key.encode())
        blob = base64.b64decode(public_key.split()[1], validate=True)
    except (UnsupportedAlgorithm, ValueError, IndexError) as error:
        raise ValueError("not a public key in OpenSSH's format") from error
    return _colons(hashlib.md5(blob, usedforsecurity=False).hexdigest())


def x509_fingerprint(certificate: str) -> str:
    """The fingerprint of a PEM certificate. Raises ValueError for what is none."""
    try:
        found = x509.load_pem_x509_certificate(certificate.encode())
    except x509.InvalidVersion as error:
        raise ValueError(str(error)) from error
    return _colons(found.fingerprint(hashes.SHA1()).hex())  # noqa: S303  the format clients know


def make_certificate(user: str, now: float) -> tuple[str, str]:
    """A fresh self-signed certificate of a user: (private key as base64 of PKCS #12, PEM certificate).

    ``now`` in epoch seconds. Windows guests log their user in by it, so it names the user twice.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, user[:_NAME_LENGTH_MAX])])
    began = datetime.fromtimestamp(now, UTC)
    principal = x509.OtherName(_USER_PRINCIPAL, _utf8_string(f"{user}@localhost"))
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(began)
        .not_valid_after(began + _VALID)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName([principal]), critical=False)
        .sign(key, hashes.SHA256())
    )
    packed = serialize_key_and_certificates(None, key, certificate, None, NoEncryption())
    return base64.b64encode(packed).decode(), certificate.public_bytes(Encoding.PEM).decode()


def _utf8_string(text: str) -> bytes:
    """A DER UTF8String. Source: X.690 §8.21; texts here are shorter than 128 bytes."""
    value = text.encode()[:127]
    return bytes((0x0C, len(value))) + value


def make_pair() -> tuple[str, str]:
    """A fresh Ed25519 pair: (private key in OpenSSH's format, public key)."""
    private = Ed25519PrivateKey.generate()
    text = private.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption()).decode()
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    return text, public
