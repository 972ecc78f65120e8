"""Tests of engine addresses, and of the errors if no engine answers. They need no engine."""

import json
from hashlib import sha256

import pytest

from tunlab.engines.connection.endpoint import DEFAULT_SOCKET, Endpoint, resolve_endpoint
from tunlab.engines.connection.engine import Engine
from tunlab.errors import EngineError


@pytest.fixture(autouse=True)
def docker_config(tmp_path, monkeypatch):
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DOCKER_CONFIG", str(tmp_path))
    return tmp_path


@pytest.fixture
def context(docker_config):
    def make(name, host, **more):
        directory = docker_config / "contexts" / "meta" / sha256(name.encode()).hexdigest()
        directory.mkdir(parents=True)
        engine = {"Host": host, "SkipTLSVerify": False, **more}
        (directory / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": engine}}))

    return make


class TestLocal:
    def test_local_engine_without_docker_configuration_is_default_socket(self):
        assert resolve_endpoint() == Endpoint("local", DEFAULT_SOCKET)

    def test_local_engine_is_docker_host_rather_than_docker_context(self, monkeypatch, context, docker_config):
        context("builder", "ssh://build@example.net")
        monkeypatch.setenv("DOCKER_CONTEXT", "builder")
        monkeypatch.setenv("DOCKER_HOST", "unix:///run/x.sock")
        assert resolve_endpoint() == Endpoint("local", "unix:///run/x.sock", None, False)
        assert str(resolve_endpoint().socket) == "/run/x.sock"

    def test_local_engine_uses_docker_tls_variables(self, monkeypatch, docker_config):
        monkeypatch.setenv("DOCKER_HOST", "tcp://example.net:2376")
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        assert resolve_endpoint() == Endpoint("local", "tcp://example.net:2376", docker_config)
        monkeypatch.setenv("DOCKER_CERT_PATH", "/certificates")
        assert str(resolve_endpoint().certificates) == "/certificates"

    def test_local_engine_is_docker_context_rather_than_current_context(self, monkeypatch, context, docker_config):
        context("builder", "ssh://build@example.net")
        context("other", "unix:///run/other.sock")
        (docker_config / "config.json").write_text('{"currentContext": "other"}')
        assert resolve_endpoint().url == "unix:///run/other.sock"
        monkeypatch.setenv("DOCKER_CONTEXT", "builder")
        assert (resolve_endpoint().url, resolve_endpoint().socket) == ("ssh://build@example.net", None)

    @pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"currentContext": ""}'])
    def test_local_engine_with_invalid_docker_configuration_is_default_socket(self, docker_config, text):
        (docker_config / "config.json").write_text(text)
        assert resolve_endpoint().url == DEFAULT_SOCKET


class TestContext:
    def test_docker_context_is_found_without_config_json(self, context):
        context("builder", "tcp://example.net:2376")
        assert resolve_endpoint("ctx:builder") == Endpoint("ctx:builder", "tcp://example.net:2376")

    def test_docker_context_with_tls_has_certificates(self, context, docker_config):
        context("builder", "tcp://example.net:2376", SkipTLSVerify=True)
        certificates = docker_config / "contexts" / "tls" / sha256(b"builder").hexdigest() / "docker"
        certificates.mkdir(parents=True)
        assert resolve_endpoint("ctx:builder") == Endpoint("ctx:builder", "tcp://example.net:2376", certificates, False)

    def test_error_of_unknown_docker_context_lists_contexts(self, context):
        context("builder", "unix:///run/x.sock")
        with pytest.raises(EngineError, match=r"there is no Docker context 'bilder'\. Did you mean builder\?"):
            resolve_endpoint("ctx:bilder")
        with pytest.raises(EngineError, match=r"no Docker context 'x'\. Existing contexts are builder"):
            resolve_endpoint("ctx:x")

    def test_unreadable_docker_context_is_ignored(self, context, docker_config):
        context("builder", "unix:///run/x.sock")
        (docker_config / "contexts" / "meta" / "broken").mkdir()
        (docker_config / "contexts" / "meta" / "broken" / "meta.json").write_text("{")
        assert resolve_endpoint("ctx:builder").url == "unix:///run/x.sock"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("loca", "'loca' does not name an engine. Did you mean local?"),
        ("builder", "'builder' does not name an engine. Did you mean ctx:builder?"),
        ("unix:", "'unix:' does not name an engine. Give local"),
        ("ssh://", "'ssh://' does not name an engine"),
        ("ftp://example.net", "'ftp://example.net' does not name an engine"),
    ],
)
def test_error_of_invalid_engine_spec_suggests_a_valid_one(context, spec, message):
    context("builder", "unix:///run/x.sock")
    with pytest.raises(EngineError) as raised:
        resolve_endpoint(spec)
    assert str(raised.value).startswith(message)


class TestConnect:
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ("unix:///nonexistent.sock", "there is no engine: the socket /nonexistent.sock does not exist. Start it"),
            ("tcp://127.0.0.1:1", "there is no engine: nothing listens at tcp://127.0.0.1:1. Start it"),
            ("tcp://127.0.0.1", "'tcp://127.0.0.1' has no port. Write tcp://host:port."),
        ],
    )
    def test_error_of_connect_without_engine_has_a_remedy(self, spec, message):
        with pytest.raises(EngineError) as raised:
            Engine.connect(spec)
        assert str(raised.value).startswith(f"{spec}: {message}")

    def test_connect_to_closed_socket_raises_engine_error(self, tmp_path):
        import socket

        path = tmp_path / "engine.sock"
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
        with pytest.raises(EngineError, match="there is no engine: nothing listens at"):
            Engine.connect(f"unix://{path}")
