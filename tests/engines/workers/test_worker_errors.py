"""What is refused before the first test, each in a sentence and with its exit code."""

import re

import pytest

from tests.engines.workers.socket_forwarder import SocketForwarder
from tunlab.engines.connection.endpoint import endpoint
from tunlab.engines.connection.engine import Engine
from tunlab.engines.images.build import ensure_image
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]


class TestBeforeTheFirstTest:
    def test_an_engine_that_is_not_there(self, pytester, start, specs, left_by):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1", "unix:///nonexistent/engine.sock*1").ended()
        assert run.status == 69, run.text
        assert "tunlab: unix:///nonexistent/engine.sock: there is no engine: no socket" in run.text
        assert "Traceback" not in run.text
        assert left_by(run.pid, specs) == []

    def test_an_image_that_does_not_build(self, pytester, start, specs, left_by):
        pytester.makepyfile("def test_one(): pass\n")
        nowhere = {"TUNLAB_BASE_IMAGE": "tunlab-no-such-image:none"}
        run = start(f"{specs[0]}*1", environment=nowhere, default_image=True).ended()
        assert run.status == 69, run.text
        assert "the image cannot be built" in run.text
        assert "TUNLAB_BASE_IMAGE" in run.text
        assert "Traceback" not in run.text
        assert left_by(run.pid, specs) == []

    def test_an_image_that_is_not_there(self, pytester, start, specs):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1", "--tunlab-image=tunlab-no-such-image:none", default_image=True).ended()
        assert run.status == 69, run.text
        assert "tunlab-no-such-image:none" in run.text
        assert "Traceback" not in run.text

    def test_a_file_of_the_project_that_cannot_be_read(self, pytester, start, specs, left_by, as_nobody):
        pytester.makepyfile("def test_one(): pass\n")
        (pytester.path / "secret").touch(mode=0o600)
        forwarder = SocketForwarder(pytester.path / "engine.sock", endpoint(specs[0]).socket)
        try:
            forwarder.path.chmod(0o666)
            prefix = as_nobody(work=pytester.path)
            run = start("unix:///mnt/work/engine.sock*1", prefix=prefix).ended()
        finally:
            forwarder.cut()
        assert run.status == 69, run.text
        assert "tunlab: /mnt/work/secret cannot be read: Permission denied; make it readable" in run.text
        assert "INTERNALERROR" not in run.text
        assert left_by(run.pid, specs) == []

    def test_a_file_that_vanishes_while_an_image_is_built(self, tmp_path, specs):
        class OnDisk(dict):
            def __getitem__(self, name):
                return (tmp_path / name).read_bytes()

        with Engine.connect(specs[0]) as engine, pytest.raises(EngineError) as refused:
            ensure_image(engine, "tunlab-test", OnDisk(gone=b"", Dockerfile=b""), tag="tunlab-test:none")
        assert "was deleted while the project's files were read" in str(refused.value)

    def test_settings_of_the_project_that_cannot_be(self, pytester, start):
        pytester.makepyfile("def test_one(): pass\n")
        pytester.makepyprojecttoml("[tool.tunlab.test]\ncapabilities = 'SYS_PTRACE'\n")
        run = start("rootless*1", default_image=True).ended()
        assert run.status == 78, run.text
        assert "'SYS_PTRACE' is not a list of strings" in run.text
        assert "INTERNALERROR" not in run.text

    def test_an_image_without_tunlab(self, pytester, start, specs, left_by, bare_image):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1", f"--tunlab-image={bare_image}", default_image=True).ended()
        assert run.status == 69, run.text
        assert f"the image {bare_image} has no pytest" in run.text
        assert left_by(run.pid, specs) == []


class TestAPluginThatIsMissingOnTheOtherSide:
    @pytest.fixture
    def only_here(self, tmp_path_factory):
        """The environment of a controller with one more plugin, which has an option; it is not the project's."""
        plugin = tmp_path_factory.mktemp("elsewhere")
        (plugin / "only_here.py").write_text(
            "def pytest_addoption(parser): parser.addoption('--only-here', action='store_true')\n"
        )
        info = plugin / "only_here-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: only-here\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[pytest11]\nonly_here = only_here\n")
        return {"PYTHONPATH": str(plugin)}

    def test_is_told_of_and_the_tests_run(self, pytester, start, specs, only_here):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1", "-qq", environment=only_here).ended()
        assert run.status == 0, run.text
        told = rf"^tunlab: {re.escape(specs[0])}: workers have no .*\bonly-here\b.*, which pytest has loaded here$"
        assert re.search(told, run.text, re.MULTILINE), run.text

    @pytest.mark.parametrize(
        ("asked", "sentence"),
        [
            ("--only-here", "unrecognized arguments: --only-here"),
            ("-ponly_here", 'Error importing plugin "only_here"'),
            ("-orequired_plugins=only-here", "Missing required plugins: only-here"),
        ],
    )
    def test_and_that_the_run_names_is_refused(self, pytester, start, specs, left_by, only_here, asked, sentence):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*2", asked, environment=only_here).ended()
        assert run.status == 69, run.text
        assert f"tunlab: {specs[0]}: a worker cannot begin: {sentence}" in run.text
        assert "-p no:only_here" in run.text
        assert "Traceback" not in run.text
        assert "replacing crashed worker" not in run.text
        assert left_by(run.pid, specs) == []


class TestTogether:
    @pytest.mark.parametrize(
        ("option", "sentence"),
        [
            ("-n2", "and so does -n: remove one"),
            ("--tx=popen", "and so does --tx: remove one"),
            ("--pdb", "--pdb does not work in a container"),
            ("-pno:xdist", "--tunlab-workers needs pytest-xdist"),
        ],
    )
    def test_options_that_contradict_are_refused(self, pytester, start, option, sentence):
        pytester.makepyfile("def test_one(): pass\n")
        run = start("rootless*1", option, default_image=True).ended()
        assert run.status == 4, run.text
        assert sentence in run.text

    @pytest.mark.parametrize("given", ["-n auto", "-n0", "--tx=popen --tx=popen"])
    @pytest.mark.parametrize("place", ["ini", "environment"])
    def test_what_is_meant_for_other_runs_gives_way(self, pytester, start, place, given):
        pytester.makepyfile("def test_one(): pass\n")
        if place == "ini":
            pytester.makeini(f"[pytest]\naddopts = {given}\n")
        environment = {"PYTEST_ADDOPTS": given} if place == "environment" else {}
        run = start("rootless*1", default_image=True, environment=environment).ended()
        assert run.status == 0, run.text
        assert "rootless: 1 worker, 1 test" in run.text

    def test_collecting_asks_no_engine(self, pytester, start):
        pytester.makepyfile("def test_one(): pass\n")
        run = start("unix:///nonexistent/engine.sock*1", "--collect-only", default_image=True).ended()
        assert run.status == 0, run.text
        assert "test_one" in run.text

    def test_no_user_namespace(self, pytester, start, without_capabilities):
        pytester.makepyfile("def test_one(): pass\n")
        run = start("rootless*1", prefix=without_capabilities, default_image=True).ended()
        assert run.status == 69, run.text
        assert "tunlab: rootless: enter a user namespace: mapping user 0 needs CAP_SETFCAP" in run.text
        assert "Traceback" not in run.text
