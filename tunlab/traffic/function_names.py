"""Names of functions in failure messages. A lambda is shown as its source code, if that can be read."""

from __future__ import annotations

import linecache
from collections.abc import Callable
from types import CodeType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import ast

MAX_LENGTH = 80
"""Longest source code of a lambda that is shown, in characters."""


def function_name(function: Callable[..., object]) -> str:
    """Return the name of a function, or the source code of a lambda ("<lambda>" if it cannot be read)."""
    name: str = getattr(function, "__name__", repr(function))
    code = getattr(function, "__code__", None)
    if name == "<lambda>" and isinstance(code, CodeType):
        return _source(code) or name
    return name


def _source(code: CodeType) -> str:
    import ast  # Imported here because only failed tests need it.

    text = "".join(linecache.getlines(code.co_filename))
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ""
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Lambda) and node.lineno == code.co_firstlineno]
    if len(found) > 1:
        found = [node for node in found if _is_code_of(node.body, code)]
    if len(found) != 1:
        return ""
    source = " ".join((ast.get_source_segment(text, found[0]) or "").split())
    return source if len(source) <= MAX_LENGTH else f"{source[: MAX_LENGTH - 1]}…"


def _is_code_of(body: ast.expr, code: CodeType) -> bool:
    """Return True if `code` was compiled from this expression. This tells lambdas on the same line apart."""
    positions = [
        (line, column, end_line, end_column)
        for line, end_line, column, end_column in code.co_positions()
        if line and end_line and column is not None and end_column is not None and end_column
    ]
    if not positions:
        return False
    first, last = min(position[:2] for position in positions), max(position[2:] for position in positions)
    return first == (body.lineno, body.col_offset) and last == (body.end_lineno, body.end_col_offset)
