"""The Image API as one table: all its rows, and who may do what.

Source of the rules: Glance's default policies. Which image is visible to whom is a condition of the
queries (store/image.py), not a rule.
"""

from typing import Final

from gateway.body import BodyStream
from gateway.envelope import glance
from gateway.image import data, discovery, download, images, listing, member, patch, quota, schema
from gateway.image.metadef import routes as metadef
from gateway.problem import glance_refusal
from gateway.route import Api, Route

_UPLOAD_BYTES_MAX: Final = 1 << 50
"""The route's own bound; the operator's, which is lower, is checked by the handler."""
_READ = "admin or project reader"
_WRITE = "admin or project member"
_SEE = "image:get_image"

RULES: Final = {
    "image:discover": "public",
    "image:get_images": _READ,
    _SEE: _READ,
    "image:get_schema": "authenticated",
    "image:get_info": "authenticated",
    "image:stores_info_detail": "admin",
    "image:get_usage": "admin or project reader",
    "image:add_image": _WRITE,
    "image:modify_image": _WRITE,
    "image:delete_image": _WRITE,
    "image:publicize_image": "admin",
    "image:communitize_image": _WRITE,
    "image:upload_image": _WRITE,
    "image:download_image": _WRITE,
    "image:signed_download": "public",
    "image:get_members": _READ,
    "image:add_member": _WRITE,
    "image:modify_member": _WRITE,
    "image:delete_member": _WRITE,
    "image:deactivate": _WRITE,
    "image:reactivate": _WRITE,
    "image:import_image": _WRITE,
    "image:stage_image": _WRITE,
    "image:delete_image_location": "admin",
    **metadef.RULES,
}

_IMAGE = "/v2/images/{image_id}"
_MEMBERS = _IMAGE + "/members"

ROUTES: Final[tuple[Route, ...]] = (
    Route("GET", "/", discovery.list_versions, "image:discover", 300),
    Route("GET", "/v2", discovery.list_versions, "image:discover", 300),
    Route("GET", "/versions", discovery.list_versions, "image:discover"),
    *(Route("GET", f"/v2/schemas/{name}", schema.show_schema, "image:get_schema") for name in schema.SCHEMAS),
    Route("GET", "/v2/info/import", discovery.show_import, "image:get_info"),
    Route("GET", "/v2/info/stores", discovery.list_stores, "image:get_info"),
    Route("GET", "/v2/info/stores/detail", discovery.list_stores_in_detail, "image:stores_info_detail"),
    Route("GET", "/v2/info/usage", quota.show_usage, "image:get_usage"),
    Route("GET", "/v2/images", listing.list_images, "image:get_images"),
    Route("POST", "/v2/images", images.create_image, "image:add_image", 201, images.CreateBody),
    Route("GET", _IMAGE, images.show_image, _SEE),
    Route(
        "PATCH",
        _IMAGE,
        images.update_image,
        "image:modify_image",
        200,
        images.PatchBody,
        media_types=(patch.V2_1, patch.V2_0),
        sight=_SEE,
    ),
    Route("DELETE", _IMAGE, images.delete_image, "image:delete_image", 204, sight=_SEE),
    Route(
        "PUT",
        f"{_IMAGE}/file",
        data.put_file,
        "image:upload_image",
        204,
        BodyStream,
        body_bytes_max=_UPLOAD_BYTES_MAX,
        media_types=("application/octet-stream",),
        sight=_SEE,
    ),
    Route("GET", f"{_IMAGE}/file", download.get_file, "image:signed_download"),
    Route("PUT", f"{_IMAGE}/tags/{{tag}}", images.put_tag, "image:modify_image", 204, sight=_SEE),
    Route("DELETE", f"{_IMAGE}/tags/{{tag}}", images.delete_tag, "image:modify_image", 204, sight=_SEE),
    Route("GET", _MEMBERS, member.list_members, "image:get_members"),
    Route("POST", _MEMBERS, member.create_member, "image:add_member", 200, member.AddBody, sight=_SEE),
    Route("GET", f"{_MEMBERS}/{{member_id}}", member.show_member, "image:get_members"),
    Route(
        "PUT",
        f"{_MEMBERS}/{{member_id}}",
        member.update_member,
        "image:modify_member",
        200,
        member.StatusBody,
        sight=_SEE,
    ),
    Route(
        "DELETE", f"{_MEMBERS}/{{member_id}}", member.delete_member, "image:delete_member", 204, sight=_SEE
    ),
    Route(
        "POST", f"{_IMAGE}/actions/deactivate", images.deactivate_image, "image:deactivate", 204, sight=_SEE
    ),
    Route(
        "POST", f"{_IMAGE}/actions/reactivate", images.reactivate_image, "image:reactivate", 204, sight=_SEE
    ),
    Route("POST", f"{_IMAGE}/import", discovery.not_implemented, "image:import_image", 202),
    Route(
        "PUT",
        f"{_IMAGE}/stage",
        data.stage_file,
        "image:stage_image",
        204,
        BodyStream,
        body_bytes_max=_UPLOAD_BYTES_MAX,
        media_types=("application/octet-stream",),
        sight=_SEE,
    ),
    Route(
        "DELETE", "/v2/stores/{store_id}/{image_id}", images.delete_copy, "image:delete_image_location", 204
    ),
    *metadef.ROUTES,
)

API: Final = Api(
    name="image",
    prefix="/image",
    routes=ROUTES,
    rules=RULES,
    envelope=glance,
    refusal=glance_refusal,
    final_slash=False,
)
