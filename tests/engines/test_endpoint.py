"""Which engine is meant, and what is said of none: without any engine."""

import json
from hashlib import sha256

import pytest

from tunlab.engines.connection.endpoint import DEFAULT_SOCKET, Endpoint, endpoint
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
    def test_the_default(self):
        assert endpoint() == Endpoint("local", DEFAULT_SOCKET)

    def test_docker_host_goes_first(self, monkeypatch, context, docker_config):
        context("builder", "ssh://build@example.net")
        monkeypatch.setenv("DOCKER_CONTEXT", "builder")
        monkeypatch.setenv("DOCKER_HOST", "unix:///run/x.sock")
        assert endpoint() == Endpoint("local", "unix:///run/x.sock", None, False)
        assert str(endpoint().socket) == "/run/x.sock"

    def test_tls_of_docker_host(self, monkeypatch, docker_config):
        monkeypatch.setenv("DOCKER_HOST", "tcp://example.net:2376")
        monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
        assert endpoint() == Endpoint("local", "tcp://example.net:2376", docker_config)
        monkeypatch.setenv("DOCKER_CERT_PATH", "/certificates")
        assert str(endpoint().certificates) == "/certificates"

    def test_the_context_of_the_variable_and_then_the_current_one(self, monkeypatch, context, docker_config):
        context("builder", "ssh://build@example.net")
        context("other", "unix:///run/other.sock")
        (docker_config / "config.json").write_text('{"currentContext": "other"}')
        assert endpoint().url == "unix:///run/other.sock"
        monkeypatch.setenv("DOCKER_CONTEXT", "builder")
        assert (endpoint().url, endpoint().socket) == ("ssh://build@example.net", None)

    @pytest.mark.parametrize("text", ["", "no JSON", "[]", '{"currentContext": ""}'])
    def test_a_configuration_that_says_nothing(self, docker_config, text):
        (docker_config / "config.json").write_text(text)
        assert endpoint().url == DEFAULT_SOCKET


class TestContexts:
    def test_by_name_without_any_configuration_file(self, context):
        context("builder", "tcp://example.net:2376")
        assert endpoint("ctx:builder") == Endpoint("ctx:builder", "tcp://example.net:2376")

    def test_its_certificates(self, context, docker_config):
        context("builder", "tcp://example.net:2376", SkipTLSVerify=True)
        certificates = docker_config / "contexts" / "tls" / sha256(b"builder").hexdigest() / "docker"
        certificates.mkdir(parents=True)
        assert endpoint("ctx:builder") == Endpoint("ctx:builder", "tcp://example.net:2376", certificates, False)

    def test_none_of_that_name(self, context):
        context("builder", "unix:///run/x.sock")
        with pytest.raises(EngineError, match=r"there is no Docker context 'bilder'; did you mean builder\?"):
            endpoint("ctx:bilder")
        with pytest.raises(EngineError, match="no Docker context 'x'; existing contexts: builder"):
            endpoint("ctx:x")

    def test_a_broken_one_is_passed_over(self, context, docker_config):
        context("builder", "unix:///run/x.sock")
        (docker_config / "contexts" / "meta" / "broken").mkdir()
        (docker_config / "contexts" / "meta" / "broken" / "meta.json").write_text("{")
        assert endpoint("ctx:builder").url == "unix:///run/x.sock"


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("loca", "'loca' names no engine; did you mean local? an engine is local, ctx:NAME"),
        ("builder", "'builder' names no engine; did you mean ctx:builder?"),
        ("unix:", "'unix:' names no engine; an engine is local"),
        ("ssh://", "'ssh://' names no engine"),
        ("ftp://example.net", "'ftp://example.net' names no engine"),
    ],
)
def test_what_is_no_spec(context, spec, said):
    context("builder", "unix:///run/x.sock")
    with pytest.raises(EngineError) as raised:
        endpoint(spec)
    assert str(raised.value).startswith(said)


class TestNobodyThere:
    @pytest.mark.parametrize(
        ("spec", "said"),
        [
            ("unix:///nonexistent.sock", "there is no engine: no socket /nonexistent.sock; start it, or say where"),
            ("tcp://127.0.0.1:1", "there is no engine: nobody listens at tcp://127.0.0.1:1; start it"),
            ("tcp://127.0.0.1", "'tcp://127.0.0.1' is not an engine's address; add the port"),
        ],
    )
    def test_is_one_sentence_with_a_remedy(self, spec, said):
        with pytest.raises(EngineError) as raised:
            Engine.connect(spec)
        assert str(raised.value).startswith(f"{spec}: {said}")

    def test_a_socket_at_which_nobody_listens(self, tmp_path):
        import socket

        path = tmp_path / "engine.sock"
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(path))
        with pytest.raises(EngineError, match="there is no engine: nobody listens at"):
            Engine.connect(f"unix://{path}")
