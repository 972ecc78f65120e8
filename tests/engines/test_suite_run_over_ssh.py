"""`tunlab test --engine ssh://…`: the port from ssh's configuration, the diff and the files brought home."""

import pytest

from tunlab.engines.connection.engine import Engine
from tunlab.engines.images.suite_image import ensure_suite_image
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_a_suite_on_an_engine_behind_ssh(start, project, engine, ssh_server):
    ensure_suite_image(engine)  # a build takes longer than all else here may
    directory = project(test_two="def test_well(): pass\n\ndef test_unlike(): assert {'ttl': 64} == {'ttl': 63}\n")
    running = start(directory, "--engine", ssh_server.spec, "-q", "--junitxml=junit.xml", env=ssh_server.environment)
    status, out, err = running.end()
    assert status == 1, out + err + ssh_server.said
    assert "{'ttl': 64} != {'ttl': 63}" in out
    assert "1 failed, 1 passed" in out
    assert "test_unlike" in (directory / "junit.xml").read_text()


class TestConnecting:
    @pytest.fixture(autouse=True)
    def configured(self, ssh_server, monkeypatch):
        monkeypatch.setenv("PATH", ssh_server.environment["PATH"])

    def test_takes_the_port_from_the_configuration(self, ssh_server, engine):
        with Engine.connect(ssh_server.spec) as behind:
            assert behind.api.info()["ID"] == engine.api.info()["ID"]
            assert not behind.is_here

    def test_a_port_that_is_said_is_the_one(self, ssh_server, engine):
        with Engine.connect(f"{ssh_server.spec}:{ssh_server.port}") as behind:
            assert behind.version == engine.version
        with pytest.raises(EngineError, match=r"ssh to .*:1 fails: .*Connection refused"):
            Engine.connect(f"{ssh_server.spec}:1")

    def test_a_key_that_is_not_let_in_is_a_sentence(self, ssh_server, tmp_path):
        (tmp_path / "ssh" / "authorized_keys").write_text("")
        with pytest.raises(EngineError, match=r"ssh to .* fails: .*Permission denied.*a key in the agent"):
            Engine.connect(ssh_server.spec)
