"""A Docker Engine that answers."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlsplit

from tunlab.engines.connection.api_errors import asking
from tunlab.engines.connection.endpoint import Endpoint, endpoint
from tunlab.errors import EngineError
from tunlab.kernel.closeable import Closeable

if TYPE_CHECKING:
    from docker.api.client import APIClient

TIMEOUT = 60.0
_DOOR_TIMEOUT = 10.0
_START = "start it, or say where it is, by DOCKER_HOST or a Docker context"


class Engine(Closeable):
    """An engine, by its spec; a context manager.

    endpoint   where it is
    api        the SDK's client
    version    the engine's, "28.2.2"
    """

    def __init__(self, endpoint: Endpoint, api: APIClient, version: str) -> None:
        """For `connect`."""
        self.endpoint, self.api, self.version = endpoint, api, version

    @classmethod
    def connect(cls, spec: str = "local", *, timeout: float = TIMEOUT) -> Self:
        """Connect to the engine that `tunlab.engines.connection.endpoint` makes of `spec`.

        timeout   seconds that any answer of it may take later on

        Raises EngineError: for what is no spec, no engine there, no right to its socket, an ssh that fails.
        """
        where = endpoint(spec)
        _knock(where)
        # urllib3 logs each retry, and the SDK asks only once it is made.
        from docker.api.client import APIClient
        from docker.errors import DockerException

        client = _client_over_ssh(spec) if where.scheme == "ssh" else APIClient
        try:
            api = client(base_url=_with_port(where), version="auto", timeout=timeout, tls=_tls(where))
        except DockerException as error:
            problem = f"no engine answers at {where.url} ({str(error).splitlines()[0]})"
            raise EngineError(problem, engine=spec, remedy=_START) from error
        try:
            with asking(spec, "ask for its version"):
                version = str(api.version()["Version"])
        except BaseException:
            api.close()
            raise
        return cls(where, api, version)

    @property
    def name(self) -> str:
        """As it was asked for."""
        return self.endpoint.spec

    @property
    def is_here(self) -> bool:
        """Whether it is on this machine, so that its containers' processes are this kernel's."""
        return self.endpoint.socket is not None

    def __repr__(self) -> str:
        return f"<Engine {self.name} at {self.endpoint.url}>"

    def asking(self, doing: str, *, container: str = "") -> Any:
        """A context manager: what the SDK raises inside becomes EngineError."""
        return asking(self.name, doing, container=container)

    def answers(self) -> bool:
        """Whether it still does."""
        try:
            with self.asking("ping it"):
                return bool(self.api.ping())
        except EngineError:
            return False

    def close(self) -> None:
        """Close the connections to it."""
        self.api.close()


def _client_over_ssh(spec: str) -> type[APIClient]:
    try:
        from tunlab.engines.connection.ssh_client import SSHAPIClient
    except ImportError:  # the SDK wants it, though it then runs ssh
        raise EngineError("engines over ssh need paramiko", engine=spec, remedy="pip install paramiko") from None
    return SSHAPIClient


def _tls(where: Endpoint) -> Any:
    if where.certificates is None or where.scheme in ("unix", "ssh"):
        return False
    from docker.tls import TLSConfig

    files = {name: where.certificates / f"{name}.pem" for name in ("ca", "cert", "key")}
    own = (str(files["cert"]), str(files["key"])) if files["cert"].exists() else None
    authority = str(files["ca"]) if files["ca"].exists() else None
    return TLSConfig(client_cert=own, ca_cert=authority, verify=where.verified)


# ---- before the SDK, which leaves its socket open on a refusal, and whose sentences are urllib3's -------------------


def _knock(where: Endpoint) -> None:
    """Nothing, if somebody is at the door. Raises EngineError."""
    address = urlsplit(where.url)
    try:
        if where.socket is not None:
            with socket.socket(socket.AF_UNIX) as door:
                door.settimeout(_DOOR_TIMEOUT)
                door.connect(str(where.socket))
        elif where.scheme == "ssh":
            _knock_by_ssh(where)
        elif address.hostname and address.port:
            socket.create_connection((address.hostname, address.port), _DOOR_TIMEOUT).close()
        else:
            raise EngineError(f"{where.url!r} is not an engine's address", engine=where.spec, remedy="add the port")
    except OSError as error:
        _refuse(where, error)


def _refuse(where: Endpoint, error: OSError) -> NoReturn:
    at = str(where.socket or where.url)
    if error.errno in (errno.EACCES, errno.EPERM) and where.socket is not None:
        problem = f"user {os.geteuid()} has no right to the engine's socket {at}"
        remedy = f"join the group that owns it (sudo usermod -aG {_group(at)} $USER, then log in again), or use sudo"
    elif error.errno == errno.ENOENT:
        problem, remedy = f"there is no engine: no socket {at}", _START
    elif error.errno == errno.ECONNREFUSED:
        problem, remedy = f"there is no engine: nobody listens at {at}", _START
    elif isinstance(error, TimeoutError):
        problem, remedy = f"no engine answers at {at} within {_DOOR_TIMEOUT:g} s", _START
    else:
        problem, remedy = f"there is no engine at {at} ({error.strerror or error})", _START
    raise EngineError(problem, engine=where.spec, remedy=remedy) from error


def _group(path: str) -> str:
    import grp

    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name  # noqa: PTH116
    except (OSError, KeyError):
        return "docker"


def _with_port(where: Endpoint) -> str:
    """The address for the SDK, which takes port 22 where none is named, whatever ssh's configuration says."""
    parts = urlsplit(where.url)
    if parts.scheme != "ssh" or parts.port is not None:
        return where.url
    done = subprocess.run(["ssh", "-G", "--", parts.netloc], capture_output=True, text=True, check=False)
    port = next((line.split()[1] for line in done.stdout.splitlines() if line.startswith("port ")), "22")
    return parts._replace(netloc=f"{parts.netloc}:{port}").geturl()


def _knock_by_ssh(where: Endpoint) -> None:
    """Whether ssh gets there without a question: the SDK would hang, or show what ssh prints between our lines."""
    program = shutil.which("ssh")
    if program is None:
        raise EngineError("there is no ssh on this machine", engine=where.spec, remedy="install openssh-client")
    options = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={_DOOR_TIMEOUT:g}")
    try:
        done = subprocess.run(
            [program, *options, "--", where.url, "true"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3 * _DOOR_TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        said = f"no answer within {3 * _DOOR_TIMEOUT:g} s"
    else:
        if done.returncode == 0:
            return
        said = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    host = urlsplit(where.url).netloc
    remedy = f"make `ssh {host} true` work without a question first: a key in the agent, the host in known_hosts"
    raise EngineError(f"ssh to {host} fails: {said}", engine=where.spec, remedy=remedy)
