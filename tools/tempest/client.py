"""The few calls by which a cloud is prepared and asked what it is; no more of a client than that."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from typing import Any, Final

from tools.tempest.cloud import Cloud, CloudError

TIMEOUT_S: Final = 60.0


class Client:
    """A session as the cloud's administrator. Every call raises CloudError unless it is answered 2xx."""

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        domain = {"name": cloud.domain}
        user = {"name": cloud.username, "password": cloud.password, "domain": domain}
        wish = {
            "auth": {
                "identity": {"methods": ["password"], "password": {"user": user}},
                "scope": {"project": {"name": cloud.project, "domain": domain}},
            }
        }
        headers, answer = _call("POST", f"{cloud.auth_url}/auth/tokens", {}, json.dumps(wish).encode())
        self._headers = {"X-Auth-Token": headers["X-Subject-Token"]}
        self.endpoints = {
            service["type"]: endpoint["url"].rstrip("/")
            for service in json.loads(answer)["token"]["catalog"]
            for endpoint in service["endpoints"]
            if endpoint["interface"] == "public" and endpoint["region_id"] == cloud.region
        }

    def get(self, service: str, path: str) -> Any:
        """The JSON document of a path below the service's endpoint."""
        _, answer = _call("GET", self._url(service, path), self._headers)
        return json.loads(answer)

    def post(self, service: str, path: str, body: Any) -> Any:
        """Make something, and its document."""
        _, answer = _call("POST", self._url(service, path), self._headers, json.dumps(body).encode())
        return json.loads(answer)

    def upload(self, service: str, path: str, data: bytes) -> None:
        """Put bytes there."""
        headers = {**self._headers, "Content-Type": "application/octet-stream"}
        _call("PUT", self._url(service, path), headers, data)

    def _url(self, service: str, path: str) -> str:
        try:
            return f"{self.endpoints[service]}{path}"
        except KeyError:
            raise CloudError(f"the catalog has no {service} in {self.cloud.region}") from None


def _call(
    method: str, url: str, headers: Mapping[str, str], data: bytes | None = None
) -> tuple[Mapping[str, str], bytes]:
    if not url.startswith(("http://", "https://")):
        raise CloudError(f"not a URL of an API: {url}")
    wish = urllib.request.Request(  # noqa: S310  checked above
        url, data, {"Content-Type": "application/json", **headers}, method=method
    )
    try:
        with urllib.request.urlopen(wish, timeout=TIMEOUT_S) as answer:  # noqa: S310  the same
            return answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        raise CloudError(f"{method} {url}: {error.code} {error.read()[:500]!r}") from error
    except OSError as error:
        raise CloudError(f"{method} {url}: {error}") from error
