"""An image that is built when what it is made of has changed, and not else.

Its tag is a hash of its context and build arguments: an image of that tag is that content.
Source: the Docker Engine API, ImageBuild (the classic builder: the SDK has no other).
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tunlab.engines.connection.api_errors import NotFoundError
from tunlab.engines.project.file_errors import reading
from tunlab.errors import EngineError

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine

Progress = Callable[[str], None]
"""Told each line of a build's output."""

LABEL = "tunlab.image"
_TAIL = 40
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"Step \d+/\d+ : (.*)")


def image_tag(name: str, context: Mapping[str, bytes], arguments: Mapping[str, str]) -> str:
    """`name:HASH` of what an image is built from: the files of its context by their names, and its arguments."""
    digest = sha256()
    for kind, entries in (("file", context), ("argument", arguments)):
        for key in sorted(entries):
            value = entries[key]
            content = value if isinstance(value, bytes) else value.encode()
            digest.update(f"{kind} {key} {len(content)}\n".encode())
            digest.update(content)
    return f"{name}:{digest.hexdigest()[:16]}"


def image_exists(engine: Engine, image: str) -> bool:
    """Whether the engine has the image. Raises EngineError."""
    try:
        with engine.asking(f"look for the image {image}"):
            engine.api.inspect_image(image)
    except NotFoundError:
        return False
    return True


def ensure_image(
    engine: Engine,
    name: str,
    context: Mapping[str, bytes],
    *,
    arguments: Mapping[str, str] | None = None,
    progress: Progress | None = None,
    tag: str = "",
) -> str:
    """The image that is built from these files, of which "Dockerfile" is one: its tag. Built unless it is there.

    name      its name, before the hash
    context   content by relative path
    arguments for the Dockerfile's ARGs
    tag       in place of the one that `image_tag` gives, by a caller who knows what the content hangs on

    Raises EngineError with the step that failed and the end of its output.
    """
    arguments = dict(arguments or {})
    tag = tag or image_tag(name, context, arguments)
    if not image_exists(engine, tag):
        _build(engine, tag, context, arguments, progress or (lambda _: None))
    return tag


def _build(
    engine: Engine, tag: str, context: Mapping[str, bytes], arguments: Mapping[str, str], progress: Progress
) -> None:
    said: deque[str] = deque(maxlen=_TAIL)
    step = ""
    with reading():
        whole = _tar(context)
    with engine.asking(f"build the image {tag}"):
        answer = engine.api.build(
            fileobj=io.BytesIO(whole),
            custom_context=True,
            tag=tag,
            buildargs=arguments,
            # pip and apt reach what the engine's machine does, whatever its bridge lets through.
            network_mode="host",
            labels={LABEL: tag},
            rm=True,
            forcerm=True,
            decode=True,
            timeout=None,
        )
        for line, failed in _lines(answer):
            if failed:
                problem = f"the image cannot be built: {step or 'its Dockerfile'}: {line}"
                raise EngineError(
                    problem, engine=engine.name, log="\n".join(said), remedy=_remedy(line, arguments, said)
                )
            if match := _STEP.fullmatch(line):
                step = match[1]
                said.clear()
            said.append(line)
            progress(line)
        if not image_exists(engine, tag):
            problem = f"the image cannot be built: {step}: the engine ended it"
            raise EngineError(problem, engine=engine.name, log="\n".join(said))


def _lines(answer: Iterator[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Each line of the output, and whether it is the error that ends it."""
    for each in answer:
        if "error" in each:
            yield str(each["error"]).strip(), True
            return
        for line in _COLOURS.sub("", str(each.get("stream") or "")).splitlines():
            if line.strip() and not line.startswith("Removing intermediate container"):
                yield line.rstrip(), False


def _remedy(line: str, arguments: Mapping[str, str], said: deque[str]) -> str:
    said_all = " ".join((line, *said))
    pull = ("pull access denied", "manifest", "no such host", "registry", "dial tcp", "Client.Timeout", "x509")
    if said_all.lstrip().startswith(("Get ", "pull", "manifest", "error pulling")) or any(
        word in line for word in pull
    ):
        base = arguments.get("BASE_IMAGE", "the base image")
        return f"{base} cannot be pulled: name another in TUNLAB_BASE_IMAGE, with Python 3.11 or later, venv and pip"
    return ""


def _tar(context: Mapping[str, bytes]) -> bytes:
    """Without times, so that the engine's own cache knows a file that has not changed."""
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in sorted(context):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(context[name]), 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(entry, io.BytesIO(context[name]))
    return buffer.getvalue()


def pull_image(engine: Engine, image: str, *, progress: Progress | None = None) -> None:
    """Have the engine fetch an image from its registry, unless it is there. Raises EngineError."""
    if image_exists(engine, image):
        return
    repository, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "latest")
    remedy = "build it on that engine, or name one that its registry has"
    try:
        with engine.asking(f"there is no image {image}, and it cannot be fetched"):
            for each in engine.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in each:
                    problem = f"there is no image {image}, and it cannot be fetched: {str(each['error']).strip()}"
                    raise EngineError(problem, engine=engine.name)
                if progress is not None:
                    progress(str(each.get("status", "")))
    except EngineError as error:
        error.remedy = error.remedy or remedy
        raise
