"""Images that are built only if their inputs have changed, and images from registries.

The tag is a hash of the build context and the build arguments, so an existing tag needs no build.
Source: the Docker Engine API, ImageBuild. It uses the classic builder, because the SDK does not support BuildKit.
"""

from __future__ import annotations

import io
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from hashlib import sha256
from typing import TYPE_CHECKING, Any

from tunlab.engines.connection.api_errors import NotFoundError
from tunlab.engines.project.archive import translate_file_errors
from tunlab.errors import EngineError

if TYPE_CHECKING:
    from tunlab.engines.connection.engine import Engine

Progress = Callable[[str], None]
"""Called with each line of a build's output."""

LABEL = "tunlab.image"
_LOG_LINES = 40
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STEP = re.compile(r"Step \d+/\d+ : (.*)")


def image_tag(name: str, context: Mapping[str, bytes], arguments: Mapping[str, str]) -> str:
    """Return `name:HASH` for a build context (contents by file name) and build arguments."""
    digest = sha256()
    for kind, entries in (("file", context), ("argument", arguments)):
        for key in sorted(entries):
            value = entries[key]
            content = value if isinstance(value, bytes) else value.encode()
            digest.update(f"{kind} {key} {len(content)}\n".encode())
            digest.update(content)
    return f"{name}:{digest.hexdigest()[:16]}"


def image_exists(engine: Engine, image: str) -> bool:
    """Return True if the engine has the image. Raises EngineError."""
    try:
        with engine.translate_errors(f"inspect the image {image}"):
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
    """Build an image unless the engine has it; return its tag.

    Args:
        engine: The engine that builds it.
        name: The image's name, before the hash.
        context: The build context: contents by relative path, with a "Dockerfile".
        arguments: Values of the Dockerfile's ARGs.
        progress: Called with each line of the build's output.
        tag: A tag to use instead of `image_tag`, if only some of the files decide whether to build again.

    Raises:
        EngineError: A step failed; the error has the step and the end of its output.
    """
    arguments = dict(arguments or {})
    tag = tag or image_tag(name, context, arguments)
    if not image_exists(engine, tag):
        _build(engine, tag, context, arguments, progress or (lambda _: None))
    return tag


def _build(
    engine: Engine, tag: str, context: Mapping[str, bytes], arguments: Mapping[str, str], progress: Progress
) -> None:
    output: deque[str] = deque(maxlen=_LOG_LINES)
    step = ""
    with translate_file_errors():
        archive = _pack_context(context)
    with engine.translate_errors(f"build the image {tag}"):
        answer = engine.api.build(
            fileobj=io.BytesIO(archive),
            custom_context=True,
            tag=tag,
            buildargs=arguments,
            # pip and apt need the network, which Docker's default bridge may not provide.
            network_mode="host",
            labels={LABEL: tag},
            rm=True,
            forcerm=True,
            decode=True,
            timeout=None,
        )
        for line, failed in _output_lines(answer):
            if failed:
                problem = f"the image cannot be built: {step or 'its Dockerfile'}: {line}"
                raise EngineError(
                    problem, engine=engine.name, log="\n".join(output), remedy=_remedy(line, arguments, output)
                )
            if match := _STEP.fullmatch(line):
                step = match[1]
                output.clear()
            output.append(line)
            progress(line)
        if not image_exists(engine, tag):
            problem = f"the image cannot be built: {step}: the engine stopped the build"
            raise EngineError(problem, engine=engine.name, log="\n".join(output))


def _output_lines(answer: Iterator[dict[str, Any]]) -> Iterator[tuple[str, bool]]:
    """Yield (line, False) for the build's output, and (message, True) for the error that ends it."""
    for each in answer:
        if "error" in each:
            yield str(each["error"]).strip(), True
            return
        for line in _COLOURS.sub("", str(each.get("stream") or "")).splitlines():
            if line.strip() and not line.startswith("Removing intermediate container"):
                yield line.rstrip(), False


def _remedy(line: str, arguments: Mapping[str, str], output: deque[str]) -> str:
    text = " ".join((line, *output))
    pull = ("pull access denied", "manifest", "no such host", "registry", "dial tcp", "Client.Timeout", "x509")
    if text.lstrip().startswith(("Get ", "pull", "manifest", "error pulling")) or any(word in line for word in pull):
        base = arguments.get("BASE_IMAGE", "the base image")
        return f"name an image other than {base} in TUNLAB_BASE_IMAGE, with Python 3.11 or later, venv and pip"
    return ""


def _pack_context(context: Mapping[str, bytes]) -> bytes:
    """Return a tar archive without timestamps, so that unchanged files match the engine's build cache."""
    import tarfile

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in sorted(context):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(context[name]), 0o755 if name.endswith(".sh") else 0o644
            tar.addfile(entry, io.BytesIO(context[name]))
    return buffer.getvalue()


def pull_image(engine: Engine, image: str, *, progress: Progress | None = None) -> None:
    """Pull an image unless the engine has it. Raises EngineError."""
    if image_exists(engine, image):
        return
    repository, _, tag = image.rpartition(":") if ":" in image.rpartition("/")[2] else (image, "", "latest")
    remedy = "build the image on that engine, or name an image that a registry has"
    try:
        with engine.translate_errors(f"there is no image {image}, and it cannot be pulled"):
            for each in engine.api.pull(repository, tag=tag, stream=True, decode=True):
                if "error" in each:
                    problem = f"there is no image {image}, and it cannot be pulled: {str(each['error']).strip()}"
                    raise EngineError(problem, engine=engine.name)
                if progress is not None:
                    progress(str(each.get("status", "")))
    except EngineError as error:
        error.remedy = error.remedy or remedy
        raise
