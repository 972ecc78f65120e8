"""The address of a Docker Engine, from `local`, `ctx:NAME`, `unix:///path`, `ssh://user@host` or `tcp://host:port`.

Docker stores each context in a directory named by the SHA-256 of its name. tunlab reads these files itself, because
SDKs before 7.2 do not read contexts and later ones ignore them if config.json does not exist.
Source: docs.docker.com/engine/manage-resources/contexts.
"""

from __future__ import annotations

import json
import os
from difflib import get_close_matches
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tunlab.errors import EngineError

DEFAULT_SOCKET = "unix:///var/run/docker.sock"
_SCHEMES = ("unix", "ssh", "tcp", "http", "https")
_FORMS = "give local, ctx:NAME, unix:///path, ssh://user@host or tcp://host:port"


class Endpoint(NamedTuple):
    """The address of an engine.

    Attributes:
        spec: The text that the user wrote, such as "local" or "ctx:builder".
        url: A unix://, ssh://, tcp://, http:// or https:// URL.
        certificates: The directory with ca.pem, cert.pem and key.pem; None without TLS.
        verify_tls: True if the engine's certificate is verified.
    """

    spec: str
    url: str
    certificates: Path | None = None
    verify_tls: bool = True

    @property
    def scheme(self) -> str:
        """The URL's scheme, such as "unix"."""
        return urlsplit(self.url).scheme

    @property
    def socket(self) -> Path | None:
        """The socket's path if the engine is on this machine, else None."""
        return Path(self.url.removeprefix("unix://")) if self.scheme == "unix" else None


def resolve_endpoint(spec: str = "local") -> Endpoint:
    """Return the address of the engine that `spec` names.

    `local` is the engine that Docker's own client would use: the first of DOCKER_HOST, DOCKER_CONTEXT, the current
    context and /var/run/docker.sock.

    Raises:
        EngineError: The spec is invalid, or the context does not exist.
    """
    if spec == "local":
        return _local_endpoint()
    if spec.startswith("ctx:"):
        return _context_endpoint(spec.removeprefix("ctx:"), spec)
    address = urlsplit(spec)
    if address.scheme not in _SCHEMES or not (address.path if address.scheme == "unix" else address.hostname):
        names = ("local", *(f"ctx:{name}" for name in _read_contexts()))
        close = get_close_matches(spec, names, n=1) or [f"ctx:{spec}" for name in _read_contexts() if name == spec]
        remedy = f"did you mean {close[0]}?" if close else _FORMS
        raise EngineError(f"{spec!r} does not name an engine", remedy=remedy)
    return Endpoint(spec, spec)


def _local_endpoint() -> Endpoint:
    if host := os.environ.get("DOCKER_HOST"):
        certificates = os.environ.get("DOCKER_CERT_PATH")
        secured = bool(os.environ.get("DOCKER_TLS_VERIFY"))
        directory = Path(certificates) if certificates else _config_directory() if secured else None
        return Endpoint("local", host, directory, secured)
    if context := os.environ.get("DOCKER_CONTEXT") or _current_context():
        return _context_endpoint(context, "local")
    return Endpoint("local", DEFAULT_SOCKET)


def _context_endpoint(name: str, spec: str) -> Endpoint:
    if name == "default":
        return Endpoint(spec, os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET)
    known = _read_contexts()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        existing = ", ".join(sorted(known)) or f"none in {_config_directory() / 'contexts'}"
        remedy = f"did you mean {close[0]}?" if close else f"existing contexts are {existing}"
        raise EngineError(f"there is no Docker context {name!r}", remedy=remedy)
    engine = known[name]
    digest = sha256(name.encode()).hexdigest()
    certificates = _config_directory() / "contexts" / "tls" / digest / "docker"
    verify_tls = not engine.get("SkipTLSVerify", False)
    return Endpoint(spec, str(engine.get("Host", "")), certificates if certificates.is_dir() else None, verify_tls)


def _read_contexts() -> dict[str, dict[str, object]]:
    found = {}
    for file in sorted(_config_directory().glob("contexts/meta/*/meta.json")):
        try:
            context = json.loads(file.read_bytes())
            found[str(context["Name"])] = dict(context["Endpoints"]["docker"])
        except (OSError, ValueError, KeyError, TypeError):
            # The context's meta.json is incomplete, or the context has no Docker endpoint.
            continue
    return found


def _current_context() -> str:
    try:
        return str(json.loads((_config_directory() / "config.json").read_bytes()).get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _config_directory() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
