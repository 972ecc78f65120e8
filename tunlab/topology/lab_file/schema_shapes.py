"""Parts of which the JSON schema of lab files consists. Source: json-schema.org/draft-07."""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

NUMBER = r"\s*([0-9]+(\.[0-9]*)?|\.[0-9]+)\s*"
"""A pattern for a number."""


def text(description: str, pattern: str = "", **more: object) -> Schema:
    """Return the schema of a string, which matches a pattern or is not empty."""
    shape: Schema = {"pattern": f"^({pattern})$"} if pattern else {"minLength": 1}
    return {"description": description, "type": "string", **shape, **more}


def table(description: str, properties: Schema, required: tuple[str, ...] = ()) -> Schema:
    """Return the schema of a table with these keys and no others."""
    shape: Schema = {"required": list(required)} if required else {}
    return {
        "description": description,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        **shape,
    }


def either(description: str, *shapes: Schema) -> Schema:
    """Return the schema of a value that has one of several shapes."""
    return {"description": description, "anyOf": list(shapes)}


def array(items: Schema, **more: object) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": items, **more}


def time(description: str) -> Schema:
    """Return the schema of a time with its unit."""
    return text(
        description, rf"{NUMBER}([uµm]?[sS]|[Uuµ][Ss]|[Mm][Ss]|[Mm][Ii][Nn])\s*", examples=["20ms", "1.5s", "100us"]
    )
