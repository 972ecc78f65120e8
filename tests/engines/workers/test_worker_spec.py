"""Tests of --tunlab-workers' values, version checks, sys.path, the broker and the bridge. They need no engine."""

import os
import socket
import threading
import traceback
from pathlib import Path

import pytest

from tunlab.engines.project.archive import pack, translate_file_errors
from tunlab.engines.workers import stream_bridge
from tunlab.engines.workers.compat import (
    Environment,
    check_compatible,
    check_same_python,
    differences,
    local_environment,
    startup_error,
)
from tunlab.engines.workers.stream_broker import StreamBroker
from tunlab.engines.workers.worker_setup import WorkerSetup
from tunlab.engines.workers.worker_spec import WorkerSpec, parse_worker_specs
from tunlab.errors import EngineError


class TestParseWorkerSpecs:
    @pytest.mark.parametrize(
        ("values", "expected"),
        [
            (["local*2"], [("local", 2)]),
            (["local"], [("local", 0)]),
            (["ssh://me@host:22*4", "rootless*2"], [("ssh://me@host:22", 4), ("rootless", 2)]),
            (["unix:///run/a.sock*2"], [("unix:///run/a.sock", 2)]),
            (["local*2", "ctx:b*1", "local*3"], [("local", 5), ("ctx:b", 1)]),
        ],
    )
    def test_parse_worker_specs_returns_engines_and_numbers_of_workers(self, values, expected):
        assert parse_worker_specs(values) == [WorkerSpec(*each) for each in expected]

    @pytest.mark.parametrize(
        ("values", "message"),
        [
            (["local*0"], "'0' is not a number of workers. Write 'local*2'"),
            (["local*many"], "'many' is not a number"),
            (["*2"], "does not name an engine"),
            ([""], "does not name an engine"),
            (["local*2000"], "1 to 512"),
            (["local", "local*2"], "has local twice"),
        ],
    )
    def test_parse_worker_specs_with_invalid_value_raises_engine_error(self, values, message):
        with pytest.raises(EngineError) as raised:
            parse_worker_specs(values)
        assert message in str(raised.value)


def environment(python="3.11.2", plugins=(), **versions):
    found = {"pytest": "9.2.0", "pytest-xdist": "3.8.0", "tunlab": "0.1.0"}
    found |= {name.replace("_", "-"): version for name, version in versions.items()}
    return Environment(python, found, dict(plugins))


class TestCompat:
    @pytest.mark.parametrize(
        ("worker", "message"),
        [
            (environment(python="3.10.4"), "has Python 3.10.4; workers need 3.11 or later"),
            (environment(pytest=""), "has no pytest. Install pytest==9.2.0 in the image"),
            (environment(pytest_xdist=""), "has no pytest-xdist"),
            (environment(tunlab=""), "has no tunlab"),
            (environment(pytest="8.4.2"), "has pytest 8.4.2, but this machine has 9.2.0"),
            (environment(pytest_xdist="3.7.1"), "has pytest-xdist 3.7.1, but this machine has 3.8.0"),
            (environment(tunlab="0.1.1"), "has tunlab 0.1.1, but this machine has 0.1.0"),
        ],
    )
    def test_check_compatible_with_incompatible_worker_raises_engine_error(self, worker, message):
        with pytest.raises(EngineError) as raised:
            check_compatible(environment(), worker, engine="local", image="mine")
        assert message in str(raised.value)
        assert str(raised.value).startswith("local: the image mine ")

    def test_check_compatible_with_compatible_worker_passes(self):
        worker = environment(python="3.13.1", pytest="9.2.7", plugins={"more": "1"})
        check_compatible(environment(plugins={"pytest_html": "4"}), worker, engine="local", image="mine")

    def test_workers_with_different_pythons_raise_engine_error(self):
        check_same_python([("a", environment(python="3.11.2")), ("b", environment(python="3.11.9"))])
        with pytest.raises(EngineError, match=r"a has Python 3\.11\.2; b has Python 3\.12\.1\. .*--dist each"):
            check_same_python([("a", environment(python="3.11.2")), ("b", environment(python="3.12.1"))])

    def test_environment_differences_include_another_python_release(self):
        assert differences(
            environment(), [("a", environment(python="3.11.9")), ("b", environment(python="3.13.0"))]
        ) == ["b: Python 3.13.0, here 3.11.2"]

    def test_environment_differences_include_missing_plugins(self):
        controller = environment(plugins={"pytest-cov": "6", "pytest_html": "4", "anyio": "4"})
        assert differences(controller, [("a", environment(plugins={"pytest-html": "4.2", "more": "1"}))]) == [
            "a: workers lack anyio, pytest-cov, which pytest has loaded here"
        ]

    @pytest.mark.parametrize(
        ("error", "message"),
        [
            (
                pytest.UsageError("usage: -c [options]\n-c: error: no such option: --x\n  rootdir: /a"),
                "no such option: --x",
            ),
            (pytest.UsageError("Missing required plugins: pytest-cov"), "Missing required plugins: pytest-cov"),
            (ModuleNotFoundError("No module named 'x'"), "ModuleNotFoundError: No module named 'x'"),
            (KeyError(), "KeyError"),
        ],
    )
    def test_worker_startup_error_has_the_last_message_of_the_traceback(self, error, message):
        try:
            raise error
        except type(error):
            found = startup_error(traceback.format_exc(), (), engine="local", image="mine")
        remedy = "Install what the run needs in the image mine, or name another image in --tunlab-image."
        assert str(found) == f"local: a worker does not start: {message}. {remedy}"

    def test_local_environment_has_the_version_of_pytest(self):
        assert local_environment({}).versions["pytest"] == pytest.__version__


class TestContainerSysPath:
    def test_container_sys_path_has_only_project_directories(self, tmp_path):
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "sub").mkdir()
        setup = WorkerSetup(tmp_path, tmp_path / "sub")
        venv = tmp_path / ".venv"
        path = ["", str(tmp_path / "src"), str(venv / "lib/python3.13/site-packages"), "/usr/lib/python3.13"]
        assert setup.container_sys_path(path, [str(venv)]) == [str(tmp_path / "sub"), str(tmp_path / "src")]


class TestFileErrors:
    def test_file_deleted_while_it_is_packed_raises_engine_error(self, tmp_path):
        with pytest.raises(EngineError) as raised, translate_file_errors():
            pack(tmp_path, ["gone"])
        problem = f"{tmp_path}/gone was deleted while the project's files were read"
        assert str(raised.value) == f"{problem}. Run the command again."


class TestStreamBroker:
    @pytest.fixture
    def served(self):
        """A broker with a stream for slot 3, the stream's other end, and a list for the tail of standard error."""
        near, far = socket.socketpair()
        tails = []
        broker = StreamBroker(lambda slot: (far.detach(), tails.append) if slot == 3 else None)
        yield broker, near, tails
        broker.close()
        self.join_connection_threads()
        near.close()
        far.close()

    def join_connection_threads(self):
        for thread in threading.enumerate():
            if thread.name == "tunlab worker":
                thread.join()

    def connect(self, broker):
        client = socket.socket(socket.AF_UNIX)
        client.connect("\0" + broker.name)
        return client

    def test_stream_broker_passes_stream_and_receives_stderr_tail(self, served):
        broker, near, tails = served
        with self.connect(broker) as client:
            client.sendall(b"3\n")
            _, (descriptor,), _, _ = socket.recv_fds(client, 1, 1)
            os.write(descriptor, b"data")
            os.close(descriptor)
            assert near.recv(10) == b"data"
            client.sendall(b"stderr")
        while not tails:
            self.join_connection_threads()
        assert tails == [b"stderr"]

    def test_stream_broker_passes_no_stream_for_worker_without_container(self, served):
        with self.connect(served[0]) as client:
            client.sendall(b"4\n")
            assert socket.recv_fds(client, 1, 1)[1] == []

    def test_stream_broker_creates_no_socket_file(self, served):
        assert not Path(served[0].name).exists()


class TestStreamBridge:
    def test_forward_output_separates_stdout_and_stderr(self, capfdbinary):
        near, far = socket.socketpair()
        with near, far:
            frames = b"".join(
                bytes((stream, 0, 0, 0)) + len(data).to_bytes(4) + data
                for stream, data in ((1, b"out"), (2, b"err"), (1, b""), (1, b"x" * 200_000), (2, b"y" * 9000))
            )

            def send():
                for start in range(0, len(frames), 7919):  # Send chunks that do not end at the end of a frame.
                    near.sendall(frames[start : start + 7919])
                near.shutdown(socket.SHUT_WR)

            sending = threading.Thread(target=send)
            sending.start()
            tail = stream_bridge.forward_output(far)
            sending.join()
        shown = capfdbinary.readouterr()
        assert shown.out == b"out" + b"x" * 200_000
        assert shown.err == b"err" + b"y" * 9000
        assert tail == b"y" * 8192
