"""Credentials and EC2 key pairs: whose they are, how they are kept, and what a signature gets."""

import base64
import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.identity.signature import SignatureError, Signed, ec2_signature, s3_signature
from store.identity import Credential, get
from tests.gateway.cloud import Cloud
from tests.gateway.identity.people import V3, log_in, made, new_user

signers = pytest.importorskip("keystoneclient.contrib.ec2.utils", reason="the client's signer is the judge")

SEED = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"


async def test_a_credential_lives_and_ends(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    user = cloud.ids.demo_user
    own = await made(cloud, demo, "credential", type="totp", blob=SEED, user_id=user, colour="blue")
    path = f"{V3}/credentials/{own['id']}"
    assert own == {
        "id": own["id"],
        "type": "totp",
        "blob": SEED,
        "user_id": user,
        "project_id": None,
        "colour": "blue",
        "links": {"self": f"{cloud.url}{path}"},
    }
    assert (await cloud.call("GET", path, demo))[1]["credential"] == own
    status, changed = await cloud.call("PATCH", path, demo, json={"credential": {"blob": "new"}})
    assert (status, changed["credential"]) == (200, {**own, "blob": "new"})
    _, listed = await cloud.call("GET", f"{V3}/credentials?type=totp", demo)
    assert [row["blob"] for row in listed["credentials"]] == ["new"]
    assert (await cloud.call("GET", f"{V3}/credentials?type=cert", demo))[1]["credentials"] == []
    assert (await cloud.call("DELETE", path, demo))[0] == 204
    assert (await cloud.call("GET", path, demo))[0] == 403


async def test_the_database_does_not_know_what_a_blob_says(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    own = await made(cloud, demo, "credential", type="totp", blob=SEED, user_id=cloud.ids.demo_user)
    async with cloud.services.pool.acquire() as c:
        row = await get(c, Credential, own["id"])
    assert row is not None
    assert SEED not in str(row)
    assert cloud.services.vault.open(row.blob) == SEED


async def test_credentials_are_their_owners_and_the_admins(cloud: Cloud) -> None:
    admin, demo = await cloud.login(), await cloud.login("demo")
    theirs = await made(cloud, admin, "credential", type="cert", blob="x", user_id=cloud.ids.admin_user)
    own = await made(cloud, admin, "credential", type="cert", blob="y", user_id=cloud.ids.demo_user)
    path = f"{V3}/credentials/{theirs['id']}"
    for method, json_ in (("GET", None), ("PATCH", {"credential": {"blob": "z"}}), ("DELETE", None)):
        assert (await cloud.call(method, path, demo, json=json_))[0] == 403
    _, mine = await cloud.call("GET", f"{V3}/credentials", demo)
    assert [row["id"] for row in mine["credentials"]] == [own["id"]]
    _, none = await cloud.call("GET", f"{V3}/credentials?user_id={cloud.ids.admin_user}", demo)
    assert none["credentials"] == []
    _, every = await cloud.call("GET", f"{V3}/credentials", admin)
    assert {row["id"] for row in every["credentials"]} == {own["id"], theirs["id"]}
    body = {"credential": {"type": "cert", "blob": "x", "user_id": cloud.ids.admin_user}}
    assert (await cloud.call("POST", f"{V3}/credentials", demo, json=body))[0] == 403
    give = {"credential": {"user_id": cloud.ids.admin_user}}
    assert (await cloud.call("PATCH", f"{V3}/credentials/{own['id']}", demo, json=give))[0] == 403


@pytest.mark.parametrize(
    "members",
    [
        {"type": "ec2", "blob": "no json", "project_id": "P"},
        {"type": "ec2", "blob": "[" * 5000, "project_id": "P"},
        {"type": "ec2", "blob": "[]", "project_id": "P"},
        {"type": "ec2", "blob": '{"secret": "s"}', "project_id": "P"},
        {"type": "ec2", "blob": '{"access": 5}', "project_id": "P"},
        {"type": "ec2", "blob": '{"access": "a", "secret": "s"}'},
        {"type": "ec2", "blob": '{"access": "a", "trust_id": "t"}', "project_id": "P"},
        {"type": "ec2", "blob": '{"access": "a", "app_cred_id": "t"}', "project_id": "P"},
        {"type": "cert", "blob": {"a": "b"}},
        {"type": "cert"},
        {"type": "", "blob": "x"},
        {"type": "cert", "blob": "a\0b"},
        {"type": "cert", "blob": "x" * 70_000},
        {"type": "cert", "blob": "x", "project_id": "nowhere"},
    ],
)
async def test_a_bad_credential_is_refused(cloud: Cloud, members: dict[str, Any]) -> None:
    demo = await cloud.login("demo")
    if members.get("project_id") == "P":
        members = {**members, "project_id": cloud.ids.demo_project}
    body = {"credential": {"user_id": cloud.ids.demo_user, **members}}
    assert (await cloud.call("POST", f"{V3}/credentials", demo, json=body))[0] == 400


async def test_an_ec2_credential_is_known_by_its_access_key(cloud: Cloud) -> None:
    demo, project_id = await cloud.login("demo"), cloud.ids.demo_project
    pair = {"access": "AKIA", "secret": "s3cret"}
    members = {"type": "ec2", "user_id": cloud.ids.demo_user, "project_id": project_id}
    own = await made(cloud, demo, "credential", blob=json.dumps(pair), **members)
    assert own["id"] == hashlib.sha256(b"AKIA").hexdigest()
    body = {"credential": {"blob": json.dumps(pair), **members}}
    assert (await cloud.call("POST", f"{V3}/credentials", demo, json=body))[0] == 409
    one = f"{V3}/users/{cloud.ids.demo_user}/credentials/OS-EC2"
    assert (await cloud.call("GET", f"{one}/AKIA", demo))[1]["credential"]["secret"] == "s3cret"
    change = {"credential": {"blob": json.dumps({"access": "AKIB", "secret": "new"})}}
    assert (await cloud.call("PATCH", f"{V3}/credentials/{own['id']}", demo, json=change))[0] == 200
    assert (await cloud.call("GET", f"{one}/AKIA", demo))[0] == 404
    assert (await cloud.call("GET", f"{one}/AKIB", demo))[1]["credential"]["secret"] == "new"
    bound = {"credential": {"blob": json.dumps({"access": "AKIB", "trust_id": "t"})}}
    assert (await cloud.call("PATCH", f"{V3}/credentials/{own['id']}", demo, json=bound))[0] == 400


async def new_pair(cloud: Cloud, token: str) -> dict[str, Any]:
    path = f"{V3}/users/{cloud.ids.demo_user}/credentials/OS-EC2"
    status, body = await cloud.call("POST", path, token, json={"tenant_id": cloud.ids.demo_project})
    assert status == 201, body
    found: dict[str, Any] = body["credential"]
    return found


async def test_ec2_pairs_of_a_user(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    path = f"{V3}/users/{cloud.ids.demo_user}/credentials/OS-EC2"
    pair = await new_pair(cloud, demo)
    assert pair["links"] == {"self": f"{cloud.url}{path}/{pair['access']}"}
    assert pair["tenant_id"] == cloud.ids.demo_project
    assert (await cloud.call("GET", path, demo))[1]["credentials"] == [pair]
    assert (await cloud.call("GET", f"{path}/{pair['access']}", demo))[1]["credential"] == pair
    _, listed = await cloud.call("GET", f"{V3}/credentials", demo)
    assert listed["credentials"][0]["type"] == "ec2"
    eve = await new_user(cloud, "eve", role="member")
    for method in ("GET", "DELETE"):
        assert (await cloud.call(method, f"{path}/{pair['access']}", eve.token))[0] == 403
        elsewhere = f"{V3}/users/{eve.id}/credentials/OS-EC2/{pair['access']}"
        assert (await cloud.call(method, elsewhere, eve.token))[0] == 404
    assert (await cloud.call("POST", path, demo, json={"tenant_id": "nowhere"}))[0] == 404
    assert (await cloud.call("DELETE", f"{path}/{pair['access']}", demo))[0] == 204
    assert (await cloud.call("GET", path, demo))[1]["credentials"] == []


def ec2_request(cloud: Cloud, version: str) -> dict[str, Any]:
    """A request of the EC2 API that says how it is signed."""
    now = cloud.services.clock.now()
    stamp = signed_at(now)
    request: dict[str, Any] = {"host": "ec2.example:8788", "verb": "GET", "path": "/services/Cloud"}
    if version != "4":
        params = {"SignatureVersion": version, "Action": "Describe Instances", "Timestamp": stamp, "b": "~é"}
        return {**request, "params": params | ({"SignatureMethod": "HmacSHA256"} if version == "2" else {})}
    plain = stamp.replace("-", "").replace(":", "")
    scope = f"AKIA/{plain[:8]}/RegionOne/ec2/aws4_request"
    headers = {
        "X-Amz-Date": plain,
        "Host": "ec2.example:8788",
        "Authorization": f"AWS4-HMAC-SHA256 Credential={scope}, SignedHeaders=host;x-amz-date, Signature=x",
    }
    return {**request, "params": {"Action": "x y"}, "headers": headers, "body_hash": "e3b0"}


def signed_at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("version", ["0", "1", "2", "4"])
async def test_a_signed_request_gets_a_token_of_the_pairs_project(cloud: Cloud, version: str) -> None:
    pair = await new_pair(cloud, await cloud.login("demo"))
    request = ec2_request(cloud, version)
    signature = signers.Ec2Signer(pair["secret"]).generate({**request, "params": {**request["params"]}})
    admin = await cloud.login()
    body = {"credentials": {**request, "access": pair["access"], "signature": signature}}
    async with cloud.session.post(f"{V3}/ec2tokens", json=body, headers={"X-Auth-Token": admin}) as response:
        assert response.status == 200, await response.text()
        token, document = response.headers["X-Subject-Token"], (await response.json())["token"]
    assert document["methods"] == ["ec2credential"]
    assert document["project"]["id"] == cloud.ids.demo_project
    assert document["user"]["id"] == cloud.ids.demo_user
    assert (await cloud.services.tokens.verify(token)) is not None
    assert (await cloud.call("GET", f"{V3}/credentials", token))[0] == 403
    again = {"identity": {"methods": ["token"], "token": {"id": token}}}
    assert (await log_in(cloud, again))[0] == 403


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"signature": "wrong"}, 401),
        ({"signature": ""}, 401),
        ({"access": "unknown"}, 404),
        ({"verb": "POST"}, 401),
        ({"params": {"SignatureVersion": "9"}}, 401),
        ({"params": {}}, 401),
        ({"params": "no"}, 400),
        ({"access": 7}, 400),
        ({"headers": {"Authorization": "AWS4-HMAC-SHA256 Credential="}, "params": {}}, 401),
    ],
)
async def test_a_bad_signature_gets_nothing(cloud: Cloud, change: dict[str, Any], status: int) -> None:
    pair = await new_pair(cloud, await cloud.login("demo"))
    request = ec2_request(cloud, "2")
    signature = signers.Ec2Signer(pair["secret"]).generate({**request, "params": {**request["params"]}})
    body = {"credentials": {**request, "access": pair["access"], "signature": signature, **change}}
    assert (await cloud.call("POST", f"{V3}/ec2tokens", await cloud.login(), json=body))[0] == status


@pytest.mark.parametrize("age_s", [-1000, 1000])
async def test_an_old_signature_gets_nothing(cloud: Cloud, age_s: float) -> None:
    pair = await new_pair(cloud, await cloud.login("demo"))
    request = ec2_request(cloud, "1")
    request["params"]["Timestamp"] = signed_at(cloud.services.clock.now() - age_s)
    signature = signers.Ec2Signer(pair["secret"]).generate(request)
    body = {"credentials": {**request, "access": pair["access"], "signature": signature}}
    assert (await cloud.call("POST", f"{V3}/ec2tokens", await cloud.login(), json=body))[0] == 401


async def test_a_request_signed_without_its_port_is_known(cloud: Cloud) -> None:
    pair = await new_pair(cloud, await cloud.login("demo"))
    request = ec2_request(cloud, "2")
    plain = {**request, "host": "ec2.example", "params": {**request["params"]}}
    signature = signers.Ec2Signer(pair["secret"]).generate(plain)
    body = {"ec2Credentials": {**request, "access": pair["access"], "signature": signature}}
    assert (await cloud.call("POST", f"{V3}/ec2tokens", await cloud.login(), json=body))[0] == 200


async def test_only_services_may_ask_who_signed(cloud: Cloud) -> None:
    demo = await cloud.login("demo")
    for path in ("ec2tokens", "s3tokens"):
        assert (await cloud.call("POST", f"{V3}/{path}", json={"credentials": {}}))[0] == 401
        assert (await cloud.call("POST", f"{V3}/{path}", demo, json={"credentials": {}}))[0] == 403


V1 = b"GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/bucket/key"
V4 = b"AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n" + b"a" * 64


@pytest.mark.parametrize("text", [V1, V4])
async def test_a_signed_string_of_s3_tells_its_owner(cloud: Cloud, text: bytes) -> None:
    pair = await new_pair(cloud, await cloud.login("demo"))
    admin = await cloud.login()
    signed = {
        "access": pair["access"],
        "signature": s3_signature(pair["secret"], text),
        "token": base64.urlsafe_b64encode(text).decode(),
    }
    status, body = await cloud.call("POST", f"{V3}/s3tokens", admin, json={"credentials": signed})
    assert (status, body["token"]["user"]["id"]) == (200, cloud.ids.demo_user)
    signed["signature"] = ("1" if signed["signature"][0] == "0" else "0") + signed["signature"][1:]
    assert (await cloud.call("POST", f"{V3}/s3tokens", admin, json={"credentials": signed}))[0] == 401


@pytest.mark.parametrize(
    "text",
    [V4.replace(b"/s3/", b"/ec2/"), V4 + b"\nx", V4.replace(b"/aws4_request", b""), b"AWS4", b"AWS4\xff"],
)
async def test_a_string_of_no_known_form_is_refused(cloud: Cloud, text: bytes) -> None:
    pair = await new_pair(cloud, await cloud.login("demo"))
    token = base64.urlsafe_b64encode(text).decode()
    signed = {"access": pair["access"], "signature": "x", "token": token}
    body = {"credentials": signed}
    assert (await cloud.call("POST", f"{V3}/s3tokens", await cloud.login(), json=body))[0] == 401


TEXT = st.text(max_size=20)
LIKELY = st.sampled_from(["SignatureVersion", "X-Amz-Algorithm", "Authorization", "X-Amz-Date", "Timestamp"])
VALUES = st.sampled_from(
    ["0", "1", "2", "AWS4-HMAC-SHA256", "AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=x"]
)
PARTS = st.dictionaries(LIKELY | TEXT, VALUES | TEXT, max_size=5)


@given(PARTS, PARTS, TEXT, TEXT)
def test_no_signed_request_breaks_the_check(
    params: dict[str, Any], headers: dict[str, str], text: str, secret: str
) -> None:
    signed = Signed(
        access=text, params=params, headers=headers, host=text, verb=text, path=text, body_hash=text
    )
    with suppress(SignatureError):
        assert ec2_signature(secret, signed).isascii()
    with suppress(SignatureError):
        assert s3_signature(secret, f"AWS4{text}".encode()).isascii()
    assert isinstance(signed.time, str)


def test_published_signatures() -> None:
    """Source: Amazon S3 and EC2 developer guides, their worked examples."""
    text = b"GET\n\n\nTue, 27 Mar 2007 19:36:42 +0000\n/awsexamplebucket1/photos/puppy.jpg"
    assert s3_signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", text) == "qgk2+6Sv9/oM7G3qLEjTH1a1l1g="
    text = (
        b"AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
        b"7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972"
    )
    expected = "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    assert s3_signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", text) == expected
    signed = Signed(
        access="AKIAIOSFODNN7EXAMPLE",
        verb="GET",
        host="elasticmapreduce.amazonaws.com",
        path="/",
        params={
            "Action": "DescribeJobFlows",
            "Version": "2009-03-31",
            "AWSAccessKeyId": "AKIAIOSFODNN7EXAMPLE",
            "SignatureVersion": "2",
            "SignatureMethod": "HmacSHA256",
            "Timestamp": "2011-10-03T15:19:30",
        },
    )
    expected = "i91nKc4PWAt0JJIdXwz9HxZCJDdiy6cf/Mj6vPxyYIs="
    assert ec2_signature("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", signed) == expected
