"""The OpenAPI 3.1 document, made of what the handlers say of themselves."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from tornado.web import RequestHandler

import cyberlab
from cyberlab.handlers.api.base import METHODS, PREFIX, PROBLEM, Operation, operation_of
from cyberlab.handlers.base import Rule

_GROUP = re.compile(r"\([^)]*\)")
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "errors", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string", "description": "the admin can search the log for it"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "message"],
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
_ID = {"type": "integer", "minimum": 1, "maximum": 2**31 - 1}


def document(routes: Iterable[tuple[str, type[RequestHandler]]], server: str) -> dict[str, Any]:
    """The document; ``routes``: patterns of addresses with their handlers, ``server``: the portal's address."""
    found = [
        (_path(pattern), method, handler, told)
        for pattern, handler in routes
        if pattern.startswith(PREFIX)
        for method in METHODS
        if (told := operation_of(handler, method)) is not None
    ]
    models = {model for *_, told in found for model in (told.query, told.body, told.answer) if model is not None}
    ordered = sorted(models, key=lambda model: model.__name__)
    refs, definitions = models_json_schema(
        [(model, "serialization" if _answers(found, model) else "validation") for model in ordered],
        ref_template="#/components/schemas/{model}",
    )
    paths: dict[str, dict[str, Any]] = {}
    for path, method, handler, told in found:
        paths.setdefault(path, {})[method] = _described(path, method, handler, told, refs)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "CyberLab",
            "version": cyberlab.__version__,
            "description": "What the pages do, for scripts. Errors are application/problem+json (RFC 9457).",
        },
        "servers": [{"url": server}],
        "security": [{"token": []}],
        "paths": paths,
        "components": {
            "schemas": {**definitions.get("$defs", {}), "Problem": _PROBLEM},
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": "a personal token from “My account”"}
            },
        },
    }


def _answers(found: list[tuple[str, str, type[RequestHandler], Operation]], model: type[BaseModel]) -> bool:
    return any(told.answer is model for *_, told in found)


def _path(pattern: str) -> str:
    """``/classes/([0-9]{1,18})/members/([0-9]{1,18})`` as ``/classes/{class_id}/members/{member_id}``."""
    parts: list[str] = []
    for part in pattern.split("/"):
        noun = parts[-1] if parts else ""
        named = {"classes": "class"}.get(noun, noun.removesuffix("s"))
        parts.append(f"{{{named}_id}}" if _GROUP.fullmatch(part) else part)
    return "/".join(parts)


def _described(path: str, method: str, handler: type[RequestHandler], told: Operation, refs: Any) -> dict[str, Any]:
    public = getattr(handler, "rule", None) == Rule(public=True)
    ids = re.findall(r"\{([a-z_]+)\}", path)
    parameters = [{"name": name, "in": "path", "required": True, "schema": _ID} for name in ids]
    if told.query is not None:
        parameters += _parameters(told.query)
    problem = {"description": "refused", "content": {PROBLEM: {"schema": {"$ref": "#/components/schemas/Problem"}}}}
    codes = [] if public else ["401", "403"]
    codes += ["404"] * bool(ids) + ["422"] * bool(told.query or told.body) + ["409", "415"] * bool(told.body)
    codes += ["409"] * (method in ("delete", "post"))
    good: dict[str, Any] = {"description": told.summary}
    if told.answer is not None:
        good["content"] = {"application/json": {"schema": refs[told.answer, "serialization"]}}
    described: dict[str, Any] = {
        "operationId": f"{method}{''.join(part.title() for part in re.findall('[a-z]+', path.removeprefix(PREFIX)))}",
        "summary": told.summary,
        "description": "Open to everybody." if public else f"Scope: {told.scope}.",
        "parameters": parameters,
        "responses": {str(told.status): good} | dict.fromkeys(sorted({*codes, "503"}), problem),
    }
    if public:
        described["security"] = []
    if told.body is not None:
        schema = refs[told.body, "validation"]
        described["requestBody"] = {"required": True, "content": {"application/json": {"schema": schema}}}
    return described


def _parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    schema = query.model_json_schema(ref_template="#/components/schemas/{model}")
    inlined = schema.get("$defs", {})
    return [
        {"name": name, "in": "query", "required": name in schema.get("required", ()), "schema": _inline(part, inlined)}
        for name, part in schema.get("properties", {}).items()
    ]


def _inline(part: Any, definitions: dict[str, Any]) -> Any:
    """Enums of a query stand in their place: nothing else refers to them."""
    if isinstance(part, dict):
        if "$ref" in part:
            return definitions[part["$ref"].rpartition("/")[2]]
        return {
            key: _inline(value, definitions) for key, value in part.items() if key != "default" or value is not None
        }
    return [_inline(item, definitions) for item in part] if isinstance(part, list) else part
