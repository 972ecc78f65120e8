"""Translation of the errors of the Docker SDK into EngineError."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tunlab.errors import EngineError

_NO_TUN = re.compile(r"/dev/net/tun.*no such file", re.DOTALL | re.IGNORECASE)


class NotFoundError(EngineError):
    """The container or image does not exist, or was removed."""


@contextmanager
def translate_api_errors(engine: str, action: str, *, container: str = "") -> Iterator[None]:
    """Raise EngineError for an error of the SDK inside the block.

    Args:
        engine: The engine's name, for the error.
        action: The request, such as "start the container"; the error's text begins with it.
        container: The container's name, for the error.

    Raises:
        NotFoundError: The engine answered with HTTP status 404.
        EngineError: Any other error.
    """
    import requests
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        explanation = str(error.explanation or error).strip()
        kind = NotFoundError if error.status_code == 404 else EngineError
        remedy = _remedy(explanation)
        raise kind(f"{action}: {explanation}", engine=engine, container=container, remedy=remedy) from error
    except (requests.ConnectionError, requests.Timeout, OSError) as error:
        problem = f"{action}: the engine no longer answers ({_cause(error)})"
        remedy = "check that the engine is running, and read its log"
        raise EngineError(problem, engine=engine, container=container, remedy=remedy) from error
    except (DockerException, requests.RequestException, ValueError) as error:
        raise EngineError(f"{action}: {_cause(error)}", engine=engine, container=container) from error


def _remedy(explanation: str) -> str:
    if _NO_TUN.search(explanation):
        return "load the driver on the engine's machine: `modprobe tun`"
    if "bind source path does not exist" in explanation:
        return "name a file or directory that exists on the engine's machine"
    if "executable file not found" in explanation or "no such file or directory: unknown" in explanation:
        return "name a program that the image contains"
    if "no command specified" in explanation.lower():
        return 'give the node a command, such as run = ["sleep infinity"]'
    if "apparmor" in explanation.lower():
        return "try --privileged"
    return ""


def _cause(error: BaseException) -> str:
    """Return the text of the innermost error, which requests and urllib3 wrap up to three times."""
    inner = re.findall(r"(?:\[Errno \d+\]|Error\(\d+,) ?'?([^')]+)", str(error))
    return inner[-1] if inner else str(error).split("\n")[0] or type(error).__name__
