"""What an engine refuses, as an EngineError: the one place where the SDK's errors are mapped."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from tunlab.errors import EngineError

_NO_TUN = re.compile(r"/dev/net/tun.*no such file", re.DOTALL | re.IGNORECASE)


class NotFoundError(EngineError):
    """There is no such container or image, or there is none any more."""


@contextmanager
def asking(engine: str, doing: str, *, container: str = "") -> Iterator[None]:
    """Map what the SDK raises inside the block.

    engine, container   their names
    doing               what is asked for, as "start the container"
    """
    import requests
    from docker.errors import APIError, DockerException

    try:
        yield
    except APIError as error:
        said = str(error.explanation or error).strip()
        kind = NotFoundError if error.status_code == 404 else EngineError
        raise kind(f"{doing}: {said}", engine=engine, container=container, remedy=_remedy(said)) from error
    except (requests.ConnectionError, requests.Timeout, OSError) as error:
        problem = f"{doing}: the engine no longer answers ({_cause(error)})"
        remedy = "see whether it still runs, and its log"
        raise EngineError(problem, engine=engine, container=container, remedy=remedy) from error
    except (DockerException, requests.RequestException, ValueError) as error:
        raise EngineError(f"{doing}: {_cause(error)}", engine=engine, container=container) from error


def _remedy(said: str) -> str:
    if _NO_TUN.search(said):
        return "load the driver on the engine's machine: modprobe tun"
    if "bind source path does not exist" in said:
        return "name a file or a directory that the engine's machine has"
    if "executable file not found" in said or "no such file or directory: unknown" in said:
        return "name a program that the image has"
    if "no command specified" in said.lower():
        return 'the image has no program of its own: give the node one, as run = ["sleep infinity"]'
    if "apparmor" in said.lower():
        return "try --privileged"
    return ""


def _cause(error: BaseException) -> str:
    """The innermost reason: requests and urllib3 wrap it three times."""
    inner = re.findall(r"(?:\[Errno \d+\]|Error\(\d+,) ?'?([^')]+)", str(error))
    return inner[-1] if inner else str(error).split("\n")[0] or type(error).__name__
