"""A connection to a Docker Engine."""

from __future__ import annotations

import errno
import os
import shutil
import socket
import subprocess
from typing import TYPE_CHECKING, Any, NoReturn, Self
from urllib.parse import urlsplit

from tunlab.engines.connection.api_errors import translate_api_errors
from tunlab.engines.connection.endpoint import Endpoint, resolve_endpoint
from tunlab.errors import EngineError
from tunlab.kernel.closeable import Closeable

if TYPE_CHECKING:
    from docker.api.client import APIClient

TIMEOUT = 60.0
_CONNECT_TIMEOUT = 10.0  # seconds to wait for the first response
_START = "start it, or give its address in DOCKER_HOST or a Docker context"


class Engine(Closeable):
    """A connection to an engine; a context manager.

    Attributes:
        endpoint: The engine's address.
        api: The SDK's client.
        version: The engine's version, such as "28.2.2".
    """

    def __init__(self, endpoint: Endpoint, api: APIClient, version: str) -> None:
        """Wrap an open connection; `connect` opens one."""
        self.endpoint, self.api, self.version = endpoint, api, version

    @classmethod
    def connect(cls, spec: str = "local", *, timeout: float = TIMEOUT) -> Self:
        """Connect to an engine.

        Args:
            spec: The engine, as `resolve_endpoint` reads it.
            timeout: Seconds to wait for each later response.

        Raises:
            EngineError: The spec is invalid, no engine answers, its socket is not accessible, or ssh fails.
        """
        target = resolve_endpoint(spec)
        _check_reachable(target)
        from docker.api.client import APIClient
        from docker.errors import DockerException

        client = _ssh_client_class(spec) if target.scheme == "ssh" else APIClient
        try:
            api = client(base_url=_url_with_port(target), version="auto", timeout=timeout, tls=_tls_config(target))
        except DockerException as error:
            problem = f"no engine answers at {target.url} ({str(error).splitlines()[0]})"
            raise EngineError(problem, engine=spec, remedy=_START) from error
        try:
            with translate_api_errors(spec, "read its version"):
                version = str(api.version()["Version"])
        except BaseException:
            api.close()
            raise
        return cls(target, api, version)

    @property
    def name(self) -> str:
        """The spec that the user wrote."""
        return self.endpoint.spec

    @property
    def is_local(self) -> bool:
        """True if the engine is on this machine, so that its containers run on this kernel."""
        return self.endpoint.socket is not None

    def __repr__(self) -> str:
        return f"<Engine {self.name} at {self.endpoint.url}>"

    def translate_errors(self, action: str, *, container: str = "") -> Any:
        """Return a context manager that raises EngineError for an error of the SDK."""
        return translate_api_errors(self.name, action, container=container)

    def close(self) -> None:
        self.api.close()


def _ssh_client_class(spec: str) -> type[APIClient]:
    try:
        from tunlab.engines.connection.ssh_client import SSHAPIClient
    except ImportError:  # The SDK's ssh module imports paramiko, although it only runs the program `ssh`.
        raise EngineError("engines over ssh need paramiko", engine=spec, remedy="run `pip install paramiko`") from None
    return SSHAPIClient


def _tls_config(target: Endpoint) -> Any:
    if target.certificates is None or target.scheme in ("unix", "ssh"):
        return False
    from docker.tls import TLSConfig

    files = {name: target.certificates / f"{name}.pem" for name in ("ca", "cert", "key")}
    client = (str(files["cert"]), str(files["key"])) if files["cert"].exists() else None
    authority = str(files["ca"]) if files["ca"].exists() else None
    return TLSConfig(client_cert=client, ca_cert=authority, verify=target.verify_tls)


def _check_reachable(target: Endpoint) -> None:
    """Raise EngineError if nothing accepts a connection at the address.

    If the connection is refused, the SDK itself would leak its socket and report urllib3's text.
    """
    address = urlsplit(target.url)
    try:
        if target.socket is not None:
            with socket.socket(socket.AF_UNIX) as probe:
                probe.settimeout(_CONNECT_TIMEOUT)
                probe.connect(str(target.socket))
        elif target.scheme == "ssh":
            _check_ssh(target)
        elif address.hostname and address.port:
            socket.create_connection((address.hostname, address.port), _CONNECT_TIMEOUT).close()
        else:
            raise EngineError(f"{target.url!r} has no port", engine=target.spec, remedy="write tcp://host:port")
    except OSError as error:
        _raise_unreachable(target, error)


def _raise_unreachable(target: Endpoint, error: OSError) -> NoReturn:
    address = str(target.socket or target.url)
    remedy = _START
    if error.errno in (errno.EACCES, errno.EPERM) and target.socket is not None:
        problem = f"user {os.geteuid()} may not use the engine's socket {address}"
        group = _owning_group(address)
        remedy = f"join the group that owns it (`sudo usermod -aG {group} $USER`, then log in again), or use sudo"
    elif error.errno == errno.ENOENT:
        problem = f"there is no engine: the socket {address} does not exist"
    elif error.errno == errno.ECONNREFUSED:
        problem = f"there is no engine: nothing listens at {address}"
    elif isinstance(error, TimeoutError):
        problem = f"no engine answers at {address} within {_CONNECT_TIMEOUT:g} s"
    else:
        problem = f"there is no engine at {address} ({error.strerror or error})"
    raise EngineError(problem, engine=target.spec, remedy=remedy) from error


def _owning_group(path: str) -> str:
    import grp

    try:
        return grp.getgrgid(os.stat(path).st_gid).gr_name  # noqa: PTH116
    except (OSError, KeyError):
        return "docker"


def _url_with_port(target: Endpoint) -> str:
    """Return the URL with the port of ssh's configuration: without a port the SDK uses 22."""
    parts = urlsplit(target.url)
    if parts.scheme != "ssh" or parts.port is not None:
        return target.url
    done = subprocess.run(["ssh", "-G", "--", parts.netloc], capture_output=True, text=True, check=False)
    port = next((line.split()[1] for line in done.stdout.splitlines() if line.startswith("port ")), "22")
    return parts._replace(netloc=f"{parts.netloc}:{port}").geturl()


def _check_ssh(target: Endpoint) -> None:
    """Raise EngineError if ssh fails or asks for a password; otherwise the SDK would hang or print ssh's messages."""
    program = shutil.which("ssh")
    if program is None:
        raise EngineError("there is no ssh on this machine", engine=target.spec, remedy="install openssh-client")
    options = ("-o", "BatchMode=yes", "-o", f"ConnectTimeout={_CONNECT_TIMEOUT:g}")
    try:
        done = subprocess.run(
            [program, *options, "--", target.url, "true"],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=3 * _CONNECT_TIMEOUT, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        reason = f"no answer within {3 * _CONNECT_TIMEOUT:g} s"
    else:
        if done.returncode == 0:
            return
        reason = (done.stderr.strip().splitlines() or [f"exit status {done.returncode}"])[-1]
    host = urlsplit(target.url).netloc
    remedy = f"make `ssh {host} true` work without a prompt: add a key to the agent and the host to known_hosts"
    raise EngineError(f"ssh to {host} fails: {reason}", engine=target.spec, remedy=remedy)
