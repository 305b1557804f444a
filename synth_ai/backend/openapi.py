"""The OpenAPI document of a backend.

The bodies are OpenAI's own, which their documents describe in full; here stands what every one of
them has: https://github.com/openai/openai-openapi
"""

from __future__ import annotations

from typing import Any

from synth_ai._version import __version__
from synth_ai.backend.config import BackendConfig

_TAGS = ["learning-v2", "responses"]

_SCHEMAS: dict[str, Any] = {
    "Error": {
        "type": "object",
        "required": ["error"],
        "properties": {
            "error": {
                "type": "object",
                "required": ["message", "type", "param", "code"],
                "properties": {
                    "message": {"type": "string"},
                    "type": {"type": "string"},
                    "param": {"type": ["string", "null"]},
                    "code": {"type": ["string", "integer", "null"]},
                },
            }
        },
    },
    "CreateResponse": {
        "type": "object",
        "required": ["model", "input"],
        "properties": {
            "model": {"type": "string"},
            "input": {"type": ["string", "array"]},
            "instructions": {"type": ["string", "null"]},
            "previous_response_id": {"type": ["string", "null"]},
            "store": {"type": ["boolean", "null"]},
            "stream": {"type": ["boolean", "null"]},
        },
    },
    "Response": {
        "type": "object",
        "required": ["id", "object", "output", "status"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "response"},
            "output": {"type": "array", "items": {"type": "object"}},
            "status": {"type": "string"},
        },
    },
    "CreateChatCompletion": {
        "type": "object",
        "required": ["model", "messages"],
        "properties": {
            "model": {"type": "string"},
            "messages": {"type": "array", "items": {"type": "object"}},
            "stream": {"type": ["boolean", "null"]},
        },
    },
    "ChatCompletion": {
        "type": "object",
        "required": ["id", "object", "choices"],
        "properties": {
            "id": {"type": "string"},
            "object": {"const": "chat.completion"},
            "choices": {"type": "array", "items": {"type": "object"}},
        },
    },
    "DeletedResponse": {
        "type": "object",
        "required": ["id", "deleted"],
        "properties": {"id": {"type": "string"}, "deleted": {"type": "boolean"}},
    },
    "List": {
        "type": "object",
        "required": ["object", "data"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": {"type": "object"}},
        },
    },
}

_ID = {"name": "response_id", "in": "path", "required": True, "schema": {"type": "string"}}

_STREAM = {
    "name": "stream",
    "in": "query",
    "description": "Have the answer as server-sent events, as `stream` in the body does.",
    "schema": {"type": "boolean"},
}

_PAGE = [
    {"name": "after", "in": "query", "schema": {"type": "string"}},
    {
        "name": "limit",
        "in": "query",
        "schema": {"type": "integer", "minimum": 1, "maximum": 100},
    },
    {"name": "order", "in": "query", "schema": {"enum": ["asc", "desc"]}},
]


def make_document(options: BackendConfig) -> dict[str, Any]:
    """Make the document.

    Args:
        options: what the backend serves.
    """
    one = f"{options.prefix}/responses/{{response_id}}"
    paths = {
        f"{options.prefix}/responses": {
            "post": _operation(
                "Make a response.", "Response", body="CreateResponse", parameters=[_STREAM]
            )
        },
        one: {
            "get": _operation("Retrieve a response.", "Response", parameters=[_ID]),
            "delete": _operation("Delete a response.", "DeletedResponse", parameters=[_ID]),
        },
        f"{one}/input_items": {
            "get": _operation("List what went in.", "List", parameters=[_ID, *_PAGE])
        },
        f"{options.prefix}/chat/completions": {
            "post": _operation(
                "Make a chat completion.", "ChatCompletion", body="CreateChatCompletion"
            )
        },
        f"{options.prefix}/models": {"get": _operation("List the models.", "List")},
    }
    document: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "Synth backend", "version": __version__},
        "paths": paths,
        "components": {"schemas": _SCHEMAS},
    }
    if options.keys is not None or options.needs_key:
        document["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        document["security"] = [{"key": []}]
    return document


def _operation(
    summary: str,
    answer: str,
    *,
    body: str | None = None,
    parameters: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Describe one operation; what it refuses has the same shape everywhere."""
    content = {"application/json": _refer(answer)}
    if body is not None:
        content["text/event-stream"] = {"schema": {"type": "string"}}

    operation: dict[str, Any] = {
        "summary": summary,
        "tags": _TAGS,
        "parameters": parameters or [],
        "responses": {
            "200": {"description": "The answer.", "content": content},
            "default": {
                "description": "What was wrong.",
                "content": {"application/json": _refer("Error")},
            },
        },
    }
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {"application/json": _refer(body)}}
    return operation


def _refer(schema: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{schema}"}}
