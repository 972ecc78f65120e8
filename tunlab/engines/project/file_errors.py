"""A project's files, read to be carried to an engine: one that cannot be read is told in a sentence."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tunlab.errors import EngineError


@contextmanager
def reading() -> Iterator[None]:
    """Map what opening and reading files raises inside the block; nothing there may speak to an engine."""
    try:
        yield
    except FileNotFoundError as error:  # an editor's, or one that a build makes anew
        problem = f"{error.filename} was deleted while the project's files were read"
        raise EngineError(problem, remedy="run it again") from error
    except OSError as error:
        problem = f"{error.filename or 'a file of the project'} cannot be read: {error.strerror or error}"
        remedy = "make it readable, or name it in .gitignore: the project's files are carried into the containers"
        raise EngineError(problem, remedy=remedy) from error
