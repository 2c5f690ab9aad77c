"""HTTP in OpenAPI 3.1, from the contract's descriptors: each call in JSON, and the addresses for files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from google.api import field_behavior_pb2
from google.protobuf.descriptor import FieldDescriptor

from moiety.version import __version__
from services.api.contract import CONTRACT, Method

OPENAPI: Final = "3.1.0"

_LONG: Final = {"type": ["string", "integer"], "pattern": "^-?[0-9]+$"}
_SCALARS: Final[Mapping[int, dict[str, Any]]] = {
    FieldDescriptor.CPPTYPE_INT32: {"type": "integer"},
    FieldDescriptor.CPPTYPE_UINT32: {"type": "integer"},
    FieldDescriptor.CPPTYPE_INT64: _LONG,
    FieldDescriptor.CPPTYPE_UINT64: _LONG,
    FieldDescriptor.CPPTYPE_FLOAT: {"type": "number"},
    FieldDescriptor.CPPTYPE_DOUBLE: {"type": "number"},
    FieldDescriptor.CPPTYPE_BOOL: {"type": "boolean"},
    FieldDescriptor.CPPTYPE_STRING: {"type": "string"},
}
_WELL_KNOWN: Final[dict[str, dict[str, Any]]] = {
    "google.protobuf.Timestamp": {"type": "string", "format": "date-time"},
    "google.protobuf.Duration": {"type": "string"},
    "google.protobuf.FieldMask": {"type": "string"},
}
_ERROR: Final = {
    "type": "object",
    "required": ["code", "message"],
    "properties": {
        "code": {"type": "string", "description": "A gRPC status in small letters, such as `not_found`."},
        "message": {"type": "string"},
        "details": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "type": {"type": "string", "description": "Such as `google.rpc.ErrorInfo`."},
                    "value": {"type": "string", "description": "The detail as protobuf, in base64 without padding."},
                    "debug": {"type": "object", "description": "The same in JSON."},
                },
            },
        },
    },
}
_USAGE_TYPES: Final = (
    "text/csv", "application/x-ndjson", "application/json", "application/vnd.apache.arrow.stream",
    "application/vnd.apache.arrow.file", "application/vnd.apache.parquet",
)  # fmt: skip
_FILES: Final[Mapping[str, tuple[str, str, str]]] = {
    "/v1/pools/{pool}/rounds/{number}/statement": ("downloadStatement", "A round's statement", "text/csv"),
    "/v1/pools/{pool}/rounds/{number}/weights": ("downloadWeights", "The weights of a round", "text/csv"),
    "/v1/pools/{pool}/rounds/{number}/registry": ("downloadRegistry", "The registry that a round used", "text/csv"),
    "/v1/pools/{pool}/bundle": ("downloadBundle", "Everything that an audit needs", "application/octet-stream"),
    "/v1/pools/{pool}/exports/{form}": ("downloadExport", "The books or tables", "application/octet-stream"),
    "/v1/pools/{pool}/log/at": ("getLogState", "The sizes of the last checkpoints", "text/plain"),
    "/v1/pools/{pool}/log/checkpoint": ("downloadCheckpoint", "The last checkpoint, a signed note", "text/plain"),
    "/v1/pools/{pool}/log/{state}/files": ("listLogFiles", "The paths of a log's files, a line each", "text/plain"),
    "/v1/pools/{pool}/log/{state}/{path}": ("downloadLogFile", "One of a log's files", "application/octet-stream"),
}
_FORMS: Final = ["beancount", "hledger", "parquet"]


def document(methods: Iterable[Method]) -> dict[str, Any]:
    """HTTP as an OpenAPI document."""
    paths = {method.path: {"post": _call(method)} for method in methods if _is_plain(method)}
    paths["/v1/pools/{pool}/usage"] = {"post": _usage()}
    paths |= {path: {"get": _file(path, *said)} for path, said in _FILES.items()}
    paths |= {f"/{name}": {"get": _open(name)} for name in ("livez", "readyz")}
    return {
        "openapi": OPENAPI,
        "info": {
            "title": "Moiety",
            "version": __version__,
            "description": "Calls of the contract by the Connect protocol, in JSON, and files in and out. Methods that "
            "stream are called by Connect's envelopes or gRPC-Web. 64-bit numbers are strings.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "security": [{"key": []}],
        "paths": paths,
        "components": {
            "securitySchemes": {"key": {"type": "http", "scheme": "bearer", "description": "An API key."}},
            "schemas": {"connect.error": _ERROR, **_schemas()},
        },
    }


def _is_plain(method: Method) -> bool:
    return not (method.client_streaming or method.server_streaming)


def _call(method: Method) -> dict[str, Any]:
    path, _, name = method.path.rpartition("/")
    service = path.rpartition(".")[2]
    return {
        "operationId": f"{service}_{name}",
        "tags": [service],
        "requestBody": {"required": True, "content": {"application/json": {"schema": _ref(method.request.DESCRIPTOR)}}},
        "responses": {
            "200": {
                "description": "The answer.",
                "content": {"application/json": {"schema": _ref(_answer_of(method))}},
            },
            "default": _refused(),
        },
    }


def _answer_of(method: Method) -> Any:
    service, name = method.path.removeprefix("/").split("/")
    for file in CONTRACT:
        found = file.services_by_name.get(service.rpartition(".")[2])
        if found is not None:
            return found.methods_by_name[name].output_type
    raise KeyError(method.path)


def _usage() -> dict[str, Any]:
    file = {"schema": {"type": "string", "format": "binary"}}
    return {
        "operationId": "uploadUsage",
        "tags": ["Files"],
        "parameters": [
            _parameter("pool"),
            {"name": "method", "in": "query", "required": True, "schema": {"type": "string"}},
            {"name": "validate_only", "in": "query", "schema": {"type": "boolean", "default": False}},
        ],
        "requestBody": {"required": True, "content": dict.fromkeys(_USAGE_TYPES, file)},
        "responses": {
            "200": {
                "description": "A receipt for each batch that was recorded.",
                "content": {"application/json": {"schema": {"type": "object"}}},
            },
            "default": _refused(),
        },
    }


def _file(path: str, name: str, summary: str, content_type: str) -> dict[str, Any]:
    named = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    return {
        "operationId": name,
        "tags": ["Files"],
        "summary": summary,
        "parameters": [_parameter(each) for each in named],
        "responses": {
            "200": {
                "description": summary,
                "content": {content_type: {"schema": {"type": "string", "format": "binary"}}},
            },
            "default": _refused(),
        },
    }


def _open(name: str) -> dict[str, Any]:
    return {
        "operationId": name,
        "tags": ["Watching"],
        "security": [],
        "responses": {"200": {"description": "Well."}, "503": {"description": "Not, and why."}},
    }


def _parameter(name: str) -> dict[str, Any]:
    schema = {"type": "string", "enum": _FORMS} if name == "form" else {"type": "string"}
    return {"name": name, "in": "path", "required": True, "schema": schema}


def _refused() -> dict[str, Any]:
    error = {"schema": {"$ref": "#/components/schemas/connect.error"}}
    return {"description": "Why not.", "content": {"application/json": error}}


def _schemas() -> dict[str, Any]:
    found: dict[str, Any] = {}
    for file in CONTRACT:
        for kind in file.enum_types_by_name.values():
            found[kind.full_name] = {"type": "string", "enum": [value.name for value in kind.values]}
        for message in file.message_types_by_name.values():
            _add_message(found, message)
    return found


def _add_message(found: dict[str, Any], message: Any) -> None:
    if message.GetOptions().map_entry:
        return
    required = [field.json_name for field in message.fields if _is_required(field)]
    properties = {field.json_name: _field(field) for field in message.fields}
    found[message.full_name] = {"type": "object", "properties": properties, "additionalProperties": False}
    if required:
        found[message.full_name]["required"] = required
    for nested in message.nested_types:
        _add_message(found, nested)
    for kind in message.enum_types:
        found[kind.full_name] = {"type": "string", "enum": [value.name for value in kind.values]}


def _is_required(field: Any) -> bool:
    return field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]


def _field(field: Any) -> dict[str, Any]:
    if field.message_type and field.message_type.GetOptions().map_entry:
        return {"type": "object", "additionalProperties": _value(field.message_type.fields_by_name["value"])}
    return {"type": "array", "items": _value(field)} if field.is_repeated else _value(field)


def _value(field: Any) -> dict[str, Any]:
    if described := field.message_type or field.enum_type:
        is_ours = described.file.package == "moiety.v1"
        return _ref(described) if is_ours else dict(_WELL_KNOWN.get(described.full_name, {"type": "object"}))
    if field.type == FieldDescriptor.TYPE_BYTES:
        return {"type": "string", "contentEncoding": "base64"}
    return dict(_SCALARS[field.cpp_type])


def _ref(described: Any) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{described.full_name}"}
