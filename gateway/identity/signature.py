"""The signatures of Amazon's APIs, computed to compare: EC2 versions 0, 1, 2 and 4, S3 versions 1 and 4.

Pure functions of the secret and of what was signed; who holds the secret is for gateway/identity/ec2.py.
Source: AWS General Reference, "Signing AWS API requests"; RFC 2104.
"""

import base64
import hashlib
import hmac
from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import quote

from msgspec import Struct

SCOPE_PARTS: Final = 4  # date, region, service, aws4_request
V4: Final = "AWS4-HMAC-SHA256"
S3_SERVICES: Final = frozenset({"s3", "iam", "sts"})


class SignatureError(Exception):
    """What was signed has no form that a signature could be for."""


class Signed(Struct, kw_only=True):
    """A signed request of the EC2 API, as the service that got it tells it."""

    access: str
    signature: str = ""
    host: str = ""
    verb: str = ""
    path: str = ""
    params: dict[str, str | int | float | bool | None] = {}
    headers: dict[str, str] = {}
    body_hash: str = ""

    @property
    def time(self) -> str:
        """When it was signed, as the request says it; empty: it does not."""
        params = self.texts()
        return params.get("Timestamp") or self.headers.get("X-Amz-Date") or params.get("X-Amz-Date", "")

    def texts(self) -> dict[str, str]:
        """The parameters as they were signed."""
        return {name: value if isinstance(value, str) else str(value) for name, value in self.params.items()}


def _sha1(secret: str, text: bytes) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text, "sha1")).decode()


def _sha256(secret: str, text: bytes) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), text, "sha256")).decode()


def _query(params: Mapping[str, str]) -> str:
    return "&".join(f"{quote(name, safe='')}={quote(params[name], safe='-_~')}" for name in sorted(params))


def _v0(secret: str, signed: Signed) -> str:
    params = signed.texts()
    try:
        return _sha1(secret, (params["Action"] + params["Timestamp"]).encode())
    except KeyError as error:
        raise SignatureError("version 0 signs Action and Timestamp") from error


def _v1(secret: str, signed: Signed) -> str:
    params = signed.texts()
    return _sha1(secret, "".join(name + params[name] for name in sorted(params, key=str.lower)).encode())


def _v2(secret: str, signed: Signed) -> str:
    params = signed.texts()
    sign = _sha1 if params.get("SignatureMethod") == "HmacSHA1" else _sha256
    return sign(secret, f"{signed.verb}\n{signed.host}\n{signed.path}\n{_query(params)}".encode())


_VERSIONS: Final[Mapping[str, Callable[[str, Signed], str]]] = {"0": _v0, "1": _v1, "2": _v2}


def ec2_signature(secret: str, signed: Signed) -> str:
    """The signature this request must have. Raises SignatureError."""
    params = signed.texts()
    known = _VERSIONS.get(params.get("SignatureVersion", ""))
    if known is not None:
        return known(secret, signed)
    if signed.headers.get("Authorization", "").startswith(V4) or params.get("X-Amz-Algorithm") == V4:
        return _v4(secret, signed)
    raise SignatureError("the signature's version is not known")


def _part(signed: Signed, name: str) -> str:
    """A part of the signature's description: of the Authorization header, or of the query."""
    header = signed.headers.get("Authorization")
    found = (
        header.partition(f"{name}=")[2].partition(",")[0]
        if header is not None
        else signed.texts().get(f"X-Amz-{name}", "")
    )
    if not found:
        raise SignatureError(f"{name} is missing")
    return found


def _v4(secret: str, signed: Signed) -> str:
    params = signed.texts()
    names = _part(signed, "SignedHeaders")
    _, _, scope = _part(signed, "Credential").partition("/")
    at = signed.headers.get("X-Amz-Date") or params.get("X-Amz-Date", "")
    if not at.startswith(scope.partition("/")[0]):
        raise SignatureError("the request's date is not that of the scope")
    headers = {name.lower().strip(): value.strip() for name, value in signed.headers.items()}
    shown = "\n".join(f"{name}:{headers[name]}" for name in names.split(";") if name in headers)
    query = {name: value for name, value in params.items() if name != "X-Amz-Signature"}
    request = "\n".join(
        (
            signed.verb.upper(),
            signed.path,
            "" if signed.verb.upper() == "POST" else _query(query),
            shown + "\n",
            names,
            signed.body_hash,
        )
    )
    digest = hashlib.sha256(request.encode()).hexdigest()
    return _v4_of(secret, scope, f"{V4}\n{at}\n{scope}\n{digest}".encode())


def _v4_of(secret: str, scope: str, string_to_sign: bytes) -> str:
    parts = scope.split("/")
    if len(parts) != SCOPE_PARTS or parts[-1] != "aws4_request":
        raise SignatureError("the scope is date/region/service/aws4_request")
    key = f"AWS4{secret}".encode()
    for part in parts:
        key = hmac.digest(key, part.encode(), "sha256")
    return hmac.new(key, string_to_sign, "sha256").hexdigest()


def s3_signature(secret: str, string_to_sign: bytes) -> str:
    """The signature of a string that an S3 service worked out of a request. Raises SignatureError."""
    if not string_to_sign.startswith(b"AWS4"):
        return _sha1(secret, string_to_sign)
    lines = string_to_sign.decode(errors="replace").split("\n")
    if len(lines) != SCOPE_PARTS or lines[0] != V4:
        raise SignatureError("version 4 signs four lines")
    if S3_SERVICES.isdisjoint(lines[2].split("/")[2:3]):
        raise SignatureError("the scope's service is not S3's")
    return _v4_of(secret, lines[2], string_to_sign)
