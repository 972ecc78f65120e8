"""Check the first word of every docstring: words such as "What" or "Whether" are not allowed.

Usage: check_docstrings.py FOLDER… . Prints a line for each wrong docstring and exits with 1 if there is one.
"""

import ast
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

FORBIDDEN = {"What", "Those", "Whether", "Nothing", "Of", "Where", "As"}


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the docstrings of modules, classes and functions, and those below the assignment of a constant."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            for before, statement in pairwise([None, *node.body]):
                if (before is None or isinstance(before, ast.Assign | ast.AnnAssign)) and isinstance(
                    statement, ast.Expr
                ):
                    value = statement.value
                    if isinstance(value, ast.Constant) and isinstance(value.value, str):
                        yield value


def main(folders: list[str]) -> int:
    status = 0
    for file in sorted(file for folder in folders for file in Path(folder).rglob("*.py")):
        for docstring in docstrings(ast.parse(file.read_text(encoding="utf-8"))):
            first = docstring.value.split(maxsplit=1)[0].rstrip(",:;.")
            if first in FORBIDDEN:
                print(f"{file}:{docstring.lineno}: a docstring opens with {first!r}. Start with a verb or a noun.")
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
