"""Tests of errors before the first test: messages and exit codes."""

import re

import pytest

from tests.engines.workers.socket_forwarder import SocketForwarder
from tunlab.engines.connection.endpoint import resolve_endpoint
from tunlab.engines.connection.engine import Engine
from tunlab.engines.images.build import ensure_image
from tunlab.errors import EngineError

pytestmark = [pytest.mark.docker, pytest.mark.slow]


class TestErrors:
    def test_missing_engine_exits_69(self, pytester, start, specs, left_by):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1", "unix:///nonexistent/engine.sock*1").ended()
        assert run.status == 69, run.text
        assert "tunlab: unix:///nonexistent/engine.sock: there is no engine: the socket" in run.text
        assert "Traceback" not in run.text
        assert left_by(run.pid, specs) == []

    def test_failed_image_build_names_the_base_image_variable(self, pytester, start, specs, left_by):
        pytester.makepyfile("def test_one(): pass\n")
        missing = {"TUNLAB_BASE_IMAGE": "tunlab-no-such-image:none"}
        run = start(f"{specs[0]}*1", environment=missing, default_image=True).ended()
        assert run.status == 69, run.text
        assert "the image cannot be built" in run.text
        assert "TUNLAB_BASE_IMAGE" in run.text
        assert "Traceback" not in run.text
        assert left_by(run.pid, specs) == []

    def test_missing_image_exits_69(self, pytester, start, specs):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1", "--tunlab-image=tunlab-no-such-image:none", default_image=True).ended()
        assert run.status == 69, run.text
        assert "tunlab-no-such-image:none" in run.text
        assert "Traceback" not in run.text

    def test_unreadable_project_file_exits_69(self, pytester, start, specs, left_by, as_nobody):
        pytester.makepyfile("def test_one(): pass\n")
        (pytester.path / "secret").touch(mode=0o600)
        forwarder = SocketForwarder(pytester.path / "engine.sock", resolve_endpoint(specs[0]).socket)
        try:
            forwarder.path.chmod(0o666)
            prefix = as_nobody(work=pytester.path)
            run = start("unix:///mnt/work/engine.sock*1", prefix=prefix).ended()
        finally:
            forwarder.close()
        assert run.status == 69, run.text
        assert "tunlab: /mnt/work/secret cannot be read: Permission denied. Make the file readable" in run.text
        assert "INTERNALERROR" not in run.text
        assert left_by(run.pid, specs) == []

    def test_file_deleted_during_build_raises_engine_error(self, tmp_path, specs):
        class OnDisk(dict):
            def __getitem__(self, name):
                return (tmp_path / name).read_bytes()

        with Engine.connect(specs[0]) as engine, pytest.raises(EngineError) as raised:
            ensure_image(engine, "tunlab-test", OnDisk(gone=b"", Dockerfile=b""), tag="tunlab-test:none")
        assert "was deleted while the project's files were read" in str(raised.value)

    def test_invalid_setting_exits_78(self, pytester, start):
        pytester.makepyfile("def test_one(): pass\n")
        pytester.makepyprojecttoml("[tool.tunlab.test]\ncapabilities = 'SYS_PTRACE'\n")
        run = start("rootless*1", default_image=True).ended()
        assert run.status == 78, run.text
        assert "'SYS_PTRACE' is not a list of strings" in run.text
        assert "INTERNALERROR" not in run.text

    def test_image_without_pytest_exits_69(self, pytester, start, specs, left_by, bare_image):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1", f"--tunlab-image={bare_image}", default_image=True).ended()
        assert run.status == 69, run.text
        assert f"the image {bare_image} has no pytest" in run.text
        assert left_by(run.pid, specs) == []


class TestMissingPlugin:
    @pytest.fixture
    def only_here(self, tmp_path_factory):
        """Environment variables with which the controller loads a pytest plugin that the workers lack."""
        plugin = tmp_path_factory.mktemp("elsewhere")
        (plugin / "only_here.py").write_text(
            "def pytest_addoption(parser): parser.addoption('--only-here', action='store_true')\n"
        )
        info = plugin / "only_here-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: only-here\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text("[pytest11]\nonly_here = only_here\n")
        return {"PYTHONPATH": str(plugin)}

    def test_missing_plugin_is_reported_and_tests_run(self, pytester, start, specs, only_here):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*1", "-qq", environment=only_here).ended()
        assert run.status == 0, run.text
        line = rf"^tunlab: {re.escape(specs[0])}: workers lack .*\bonly-here\b.*, which pytest has loaded here$"
        assert re.search(line, run.text, re.MULTILINE), run.text

    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("--only-here", "unrecognized arguments: --only-here"),
            ("-ponly_here", 'Error importing plugin "only_here"'),
            ("-orequired_plugins=only-here", "Missing required plugins: only-here"),
        ],
    )
    def test_option_of_missing_plugin_exits_69(self, pytester, start, specs, left_by, only_here, option, message):
        pytester.makepyfile("def test_one(): pass\n")
        run = start(f"{specs[0]}*2", option, environment=only_here).ended()
        assert run.status == 69, run.text
        assert f"tunlab: {specs[0]}: a worker does not start: {message}" in run.text
        assert "-p no:only_here" in run.text
        assert "Traceback" not in run.text
        assert "replacing crashed worker" not in run.text
        assert left_by(run.pid, specs) == []


class TestOptions:
    @pytest.mark.parametrize(
        ("option", "message"),
        [
            ("-n2", "--tunlab-workers and -n both set the number of workers. Remove -n"),
            ("--tx=popen", "--tunlab-workers and --tx both set the number of workers. Remove --tx"),
            ("--pdb", "--pdb does not work in a container"),
            ("-pno:xdist", "--tunlab-workers needs pytest-xdist"),
        ],
    )
    def test_option_that_conflicts_with_tunlab_workers_exits_4(self, pytester, start, option, message):
        pytester.makepyfile("def test_one(): pass\n")
        run = start("rootless*1", option, default_image=True).ended()
        assert run.status == 4, run.text
        assert message in run.text

    @pytest.mark.parametrize("options", ["-n auto", "-n0", "--tx=popen --tx=popen"])
    @pytest.mark.parametrize("source", ["ini", "environment"])
    def test_tunlab_workers_option_overrides_other_xdist_options(self, pytester, start, source, options):
        pytester.makepyfile("def test_one(): pass\n")
        if source == "ini":
            pytester.makeini(f"[pytest]\naddopts = {options}\n")
        environment = {"PYTEST_ADDOPTS": options} if source == "environment" else {}
        run = start("rootless*1", default_image=True, environment=environment).ended()
        assert run.status == 0, run.text
        assert "rootless: 1 worker, 1 test" in run.text

    def test_collect_only_run_connects_to_no_engine(self, pytester, start):
        pytester.makepyfile("def test_one(): pass\n")
        run = start("unix:///nonexistent/engine.sock*1", "--collect-only", default_image=True).ended()
        assert run.status == 0, run.text
        assert "test_one" in run.text

    def test_rootless_worker_without_user_namespaces_exits_69(self, pytester, start, without_capabilities):
        pytester.makepyfile("def test_one(): pass\n")
        run = start("rootless*1", prefix=without_capabilities, default_image=True).ended()
        assert run.status == 69, run.text
        assert "tunlab: rootless: enter a user namespace: mapping user 0 needs CAP_SETFCAP" in run.text
        assert "Traceback" not in run.text
