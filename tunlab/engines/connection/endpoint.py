"""Which engine is meant: `local`, `ctx:NAME`, `unix:///path`, `ssh://user@host`, `tcp://host:port` → its address.

Source: docs.docker.com/engine/manage-resources/contexts for how contexts are kept: a directory for each, named by the
SHA-256 of its name. Read here, as SDKs before 7.2 do not know them and later ones pass over them where there is no
config.json.
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
_FORMS = "an engine is local, ctx:NAME, unix:///path, ssh://user@host or tcp://host:port"


class Endpoint(NamedTuple):
    """Where an engine is.

    spec           as it was asked for
    url            unix://, ssh://, tcp://, http:// or https://
    certificates   the directory with ca.pem, cert.pem and key.pem; None: no TLS
    verified       whether the engine has to show that it is the one meant
    """

    spec: str
    url: str
    certificates: Path | None = None
    verified: bool = True

    @property
    def scheme(self) -> str:
        """What the address begins with."""
        return urlsplit(self.url).scheme

    @property
    def socket(self) -> Path | None:
        """The socket of an engine that is on this machine; None for others."""
        return Path(self.url.removeprefix("unix://")) if self.scheme == "unix" else None


def endpoint(spec: str = "local") -> Endpoint:
    """The address of the engine that is meant. Raises EngineError for no such context, and for what is no spec.

    `local` is the one that Docker's own client would take: DOCKER_HOST, DOCKER_CONTEXT, the current context, or
    /var/run/docker.sock.
    """
    if spec == "local":
        return _local()
    if spec.startswith("ctx:"):
        return _context(spec.removeprefix("ctx:"), spec)
    address = urlsplit(spec)
    if address.scheme not in _SCHEMES or not (address.path if address.scheme == "unix" else address.hostname):
        names = ("local", *(f"ctx:{name}" for name in _contexts()))
        close = get_close_matches(spec, names, n=1) or [f"ctx:{spec}" for name in _contexts() if name == spec]
        remedy = f"did you mean {close[0]}? {_FORMS}" if close else _FORMS
        raise EngineError(f"{spec!r} names no engine", remedy=remedy)
    return Endpoint(spec, spec)


def _local() -> Endpoint:
    if host := os.environ.get("DOCKER_HOST"):
        certificates = os.environ.get("DOCKER_CERT_PATH")
        secured = bool(os.environ.get("DOCKER_TLS_VERIFY"))
        directory = Path(certificates) if certificates else _directory() if secured else None
        return Endpoint("local", host, directory, secured)
    if context := os.environ.get("DOCKER_CONTEXT") or _current_context():
        return _context(context, "local")
    return Endpoint("local", DEFAULT_SOCKET)


def _context(name: str, spec: str) -> Endpoint:
    if name == "default":
        return Endpoint(spec, os.environ.get("DOCKER_HOST") or DEFAULT_SOCKET)
    known = _contexts()
    if name not in known:
        close = get_close_matches(name, known, n=1)
        there = ", ".join(sorted(known)) or f"none in {_directory() / 'contexts'}"
        remedy = f"did you mean {close[0]}?" if close else f"existing contexts: {there}"
        raise EngineError(f"there is no Docker context {name!r}", remedy=remedy)
    engine = known[name]
    digest = sha256(name.encode()).hexdigest()
    certificates = _directory() / "contexts" / "tls" / digest / "docker"
    verified = not engine.get("SkipTLSVerify", False)
    return Endpoint(spec, str(engine.get("Host", "")), certificates if certificates.is_dir() else None, verified)


def _contexts() -> dict[str, dict[str, object]]:
    found = {}
    for file in sorted(_directory().glob("contexts/meta/*/meta.json")):
        try:
            context = json.loads(file.read_bytes())
            found[str(context["Name"])] = dict(context["Endpoints"]["docker"])
        except (OSError, ValueError, KeyError, TypeError):  # half-written, or of another orchestrator
            continue
    return found


def _current_context() -> str:
    try:
        return str(json.loads((_directory() / "config.json").read_bytes()).get("currentContext") or "")
    except (OSError, ValueError, AttributeError):
        return ""


def _directory() -> Path:
    return Path(os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker")
