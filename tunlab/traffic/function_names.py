"""What to call a function in a failure message: its name, a lambda's by its source where that can be had."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ast

LONGEST = 80
"""Characters of a lambda's source that are shown."""


def function_name(function: Callable[..., object]) -> str:
    """`is_even`, `lambda packet: packet.ip.ttl > 1`; `<lambda>` where the source is not to be had."""
    name: str = getattr(function, "__name__", repr(function))
    code = getattr(function, "__code__", None)
    if name == "<lambda>" and isinstance(code, CodeType):
        return _source(code) or name
    return name


def _source(code: CodeType) -> str:
    import ast  # only a failure needs it

    text = "".join(linecache.getlines(code.co_filename))
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
    if len(found) > 1:
        found = [node for node in found if _holds(node.body, code)]
    if len(found) != 1:
        return ""
    source = " ".join((ast.get_source_segment(text, found[0]) or "").split())
    return source if len(source) <= LONGEST else f"{source[: LONGEST - 1]}…"


def _holds(body: ast.expr, code: CodeType) -> bool:
    """Whether the code's instructions stand exactly in these lines and columns: of several lambdas on a line, one's."""
    places = [
        (line, column, end_line, end_column)
        for line, end_line, column, end_column in code.co_positions()
        if line and end_line and column is not None and end_column is not None and end_column
    ]
    if not places:
        return False
    first, last = min(place[:2] for place in places), max(place[2:] for place in places)
    return first == (body.lineno, body.col_offset) and last == (body.end_lineno, body.end_col_offset)
