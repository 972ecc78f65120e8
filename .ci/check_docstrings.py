"""Check the first words of docstrings and of their sections: words such as "What" or "Whether" are not allowed.

Usage: check_docstrings.py PATH… . Checks each file, and each Python file in each folder. Prints a line for each problem
and exits with 1 if there is one.
"""

import ast
import re
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

FORBIDDEN = {"what", "those", "whether", "nothing", "of", "where", "as"}
# Letters and digits, after any quotes, brackets or backticks: `as_bytes` is one word, and "What's" opens with "What".
FIRST_WORD = re.compile(r"[\W_]*([^\W_]+(?:_\w+)?)")
SECTION = re.compile(r"(Args|Attributes|Raises|Returns|Yields):\s*(.*)")
# The name of an argument, an exception or a type before its text: `**options:`, `timeout (float):`, `dict[str, int]:`.
ENTRY_NAME = re.compile(r"[*`]*[\w.]+(?:\[.*?\])?(?: \([^)]*\))?[`]*:(?:\s+|$)")


def docstrings(tree: ast.AST) -> Iterator[ast.Constant]:
    """Yield the docstrings of modules, classes and functions, and those below the assignment of a constant."""
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        for _, statements in ast.iter_fields(node):
            if not isinstance(statements, list):
                continue
            for before, statement in pairwise([None, *statements]):
                first = before is None and documented and statements is getattr(node, "body", None)
                if not first and not isinstance(before, ast.Assign | ast.AnnAssign):
                    continue
                match statement:
                    case ast.Expr(value=ast.Constant(value=str()) as docstring):
                        yield docstring


def openings(docstring: str) -> Iterator[tuple[int, str]]:
    """Yield the texts whose first word counts, with line numbers: the docstring and its sections' entries."""
    yield 0, docstring
    section, section_indent, entry_indent = None, 0, None
    for number, line in enumerate(docstring.splitlines()):
        text = line.strip()
        if not text:
            continue
        indent = len(line) - len(line.lstrip())
        if heading := SECTION.fullmatch(text):
            section, section_indent, entry_indent = heading[1], indent, None
            if heading[2]:
                yield number, heading[2]
        elif section and number and indent <= section_indent:
            section = None
        elif section:
            # A line that is indented more than the first entry continues an entry, and `Returns:` has one entry only.
            begins = entry_indent is None or (indent == entry_indent and section not in {"Returns", "Yields"})
            entry_indent = indent if entry_indent is None else entry_indent
            name = ENTRY_NAME.match(text)
            if begins and (text := text[name.end() :] if name else text):
                yield number, text


def problems(source: str) -> Iterator[tuple[int, str]]:
    """Yield the line number and the description of each problem in a Python file's text."""
    for constant in docstrings(ast.parse(source)):
        docstring = str(constant.value)
        if not docstring.strip():
            yield constant.lineno, "a docstring is empty. Write one sentence, or remove it."
            continue
        for number, text in openings(docstring):
            word = FIRST_WORD.match(text)
            if word and word[1].lower() in FORBIDDEN:
                place = "an entry of a docstring" if number else "a docstring"
                yield constant.lineno + number, f"{place} opens with {word[1]!r}. Start with a verb or a noun."


def main(paths: list[str]) -> int:
    found = False
    for path in map(Path, paths):
        for file in sorted(path.rglob("*.py")) if path.is_dir() else [path]:
            for line, problem in problems(file.read_text(encoding="utf-8")):
                print(f"{file}:{line}: {problem}")
                found = True
    return int(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
