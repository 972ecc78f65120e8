"""Tests of `tunlab test --engine ssh://…`."""

import pytest

from tunlab.engines.connection.engine import Engine
from tunlab.engines.images.suite_image import ensure_suite_image
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]


def test_suite_over_ssh_reports_failure_and_copies_junit_back(start, project, engine, ssh_server):
    ensure_suite_image(engine)  # Build the image first, because a build over ssh could exceed the timeout.
    directory = project(test_two="def test_passes(): pass\n\ndef test_fails(): assert {'ttl': 64} == {'ttl': 63}\n")
    running = start(directory, "--engine", ssh_server.spec, "-q", "--junitxml=junit.xml", env=ssh_server.environment)
    status, out, err = running.end()
    assert status == 1, out + err + ssh_server.log
    assert "{'ttl': 64} != {'ttl': 63}" in out
    assert "1 failed, 1 passed" in out
    assert "test_fails" in (directory / "junit.xml").read_text()


class TestConnect:
    @pytest.fixture(autouse=True)
    def ssh_configuration(self, ssh_server, monkeypatch):
        monkeypatch.setenv("PATH", ssh_server.environment["PATH"])

    def test_connect_without_port_uses_the_port_of_ssh_config(self, ssh_server, engine):
        with Engine.connect(ssh_server.spec) as remote:
            assert remote.api.info()["ID"] == engine.api.info()["ID"]
            assert not remote.is_local

    def test_connect_with_port_overrides_ssh_config(self, ssh_server, engine):
        with Engine.connect(f"{ssh_server.spec}:{ssh_server.port}") as remote:
            assert remote.version == engine.version
        with pytest.raises(EngineError, match=r"ssh to .*:1 fails: .*Connection refused"):
            Engine.connect(f"{ssh_server.spec}:1")

    def test_connect_with_rejected_key_raises_engine_error(self, ssh_server, tmp_path):
        (tmp_path / "ssh" / "authorized_keys").write_text("")
        with pytest.raises(EngineError, match=r"ssh to .* fails: .*Permission denied.*add a key to the agent"):
            Engine.connect(ssh_server.spec)
