"""What --tunlab-workers says, and whether the two sides fit."""

import os
import socket
import threading
import traceback
from pathlib import Path

import pytest

from tunlab.engines.project.archive import packed
from tunlab.engines.project.file_errors import reading
from tunlab.engines.workers import stream_bridge
from tunlab.engines.workers.compat import (
    Environment,
    check_compatible,
    check_same_python,
    differences,
    here,
    startup_error,
)
from tunlab.engines.workers.provision import Provision
from tunlab.engines.workers.stream_broker import StreamBroker
from tunlab.engines.workers.worker_spec import WorkerSpec, places
from tunlab.errors import EngineError


class TestPlaces:
    @pytest.mark.parametrize(
        ("said", "meant"),
        [
            (["local*2"], [("local", 2)]),
            (["local"], [("local", 0)]),
            (["ssh://me@host:22*4", "rootless*2"], [("ssh://me@host:22", 4), ("rootless", 2)]),
            (["unix:///run/a.sock*2"], [("unix:///run/a.sock", 2)]),
            (["local*2", "ctx:b*1", "local*3"], [("local", 5), ("ctx:b", 1)]),
        ],
    )
    def test_an_engine_and_how_many(self, said, meant):
        assert places(said) == [WorkerSpec(*each) for each in meant]

    @pytest.mark.parametrize(
        ("said", "sentence"),
        [
            (["local*0"], "'0' is not a number of workers; write 'local*2'"),
            (["local*many"], "'many' is not a number"),
            (["*2"], "names no engine"),
            ([""], "names no engine"),
            (["local*2000"], "1 to 512"),
            (["local", "local*2"], "has local twice"),
        ],
    )
    def test_what_cannot_be_meant_is_refused(self, said, sentence):
        with pytest.raises(EngineError) as refused:
            places(said)
        assert sentence in str(refused.value)


def side(python="3.11.2", plugins=(), **versions):
    found = {"pytest": "9.2.0", "pytest-xdist": "3.8.0", "tunlab": "0.1.0"}
    found |= {name.replace("_", "-"): version for name, version in versions.items()}
    return Environment(python, found, dict(plugins))


class TestParity:
    @pytest.mark.parametrize(
        ("worker", "sentence"),
        [
            (side(python="3.10.4"), "has Python 3.10.4; workers need 3.11 or later"),
            (side(pytest=""), "has no pytest; install pytest==9.2.0 in it"),
            (side(pytest_xdist=""), "has no pytest-xdist"),
            (side(tunlab=""), "has no tunlab"),
            (side(pytest="8.4.2"), "has pytest 8.4.2, and here it is 9.2.0"),
            (side(pytest_xdist="3.7.1"), "has pytest-xdist 3.7.1, and here it is 3.8.0"),
            (side(tunlab="0.1.1"), "has tunlab 0.1.1, and here it is 0.1.0"),
        ],
    )
    def test_an_unlike_side_is_told_with_what_to_do(self, worker, sentence):
        with pytest.raises(EngineError) as refused:
            check_compatible(side(), worker, engine="local", image="mine")
        assert sentence in str(refused.value)
        assert str(refused.value).startswith("local: the image mine ")

    def test_a_fitting_side_is_let_in(self):
        worker = side(python="3.13.1", pytest="9.2.7", plugins={"more": "1"})
        check_compatible(side(plugins={"pytest_html": "4"}), worker, engine="local", image="mine")

    def test_workers_that_share_tests_have_one_python(self):
        check_same_python([("a", side(python="3.11.2")), ("b", side(python="3.11.9"))])
        with pytest.raises(EngineError, match=r"a has Python 3\.11\.2; b has Python 3\.12\.1; .*--dist each"):
            check_same_python([("a", side(python="3.11.2")), ("b", side(python="3.12.1"))])

    def test_what_may_differ_is_told(self):
        assert differences(side(), [("a", side(python="3.11.9")), ("b", side(python="3.13.0"))]) == [
            "b: Python 3.13.0, here 3.11.2"
        ]

    def test_a_plugin_that_is_missing_is_told(self):
        controller = side(plugins={"pytest-cov": "6", "pytest_html": "4", "anyio": "4"})
        assert differences(controller, [("a", side(plugins={"pytest-html": "4.2", "more": "1"}))]) == [
            "a: workers have no anyio, pytest-cov, which pytest has loaded here"
        ]

    @pytest.mark.parametrize(
        ("error", "sentence"),
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
    def test_what_a_worker_ended_with_is_one_sentence(self, error, sentence):
        try:
            raise error
        except type(error):
            told = startup_error(traceback.format_exc(), (), engine="local", image="mine")
        remedy = "the image mine has to have what the run asks for, or name one that fits in --tunlab-image"
        assert str(told) == f"local: a worker cannot begin: {sentence}; {remedy}"

    def test_this_side(self):
        assert here({}).versions["pytest"] == pytest.__version__


class TestThePathInside:
    def test_is_what_is_carried_in(self, tmp_path):
        (tmp_path / "pyproject.toml").touch()
        (tmp_path / "sub").mkdir()
        provision = Provision(tmp_path, tmp_path / "sub")
        venv = tmp_path / ".venv"
        path = ["", str(tmp_path / "src"), str(venv / "lib/python3.13/site-packages"), "/usr/lib/python3.13"]
        assert provision.path_inside(path, [str(venv)]) == [str(tmp_path / "sub"), str(tmp_path / "src")]


class TestTheFiles:
    def test_one_that_vanishes_meanwhile_is_told(self, tmp_path):
        with pytest.raises(EngineError) as refused, reading():
            packed(tmp_path, ["gone"])
        assert str(refused.value) == f"{tmp_path}/gone was deleted while the project's files were read; run it again"


class TestTheGate:
    @pytest.fixture
    def joined(self):
        """A gate with one stream behind it, and the stream's other end."""
        near, far = socket.socketpair()
        said = []
        gate = StreamBroker(lambda seat: (far.detach(), said.append) if seat == 3 else None)
        yield gate, near, said
        gate.close()
        self.wait_for_those_let_in()
        near.close()
        far.close()

    def wait_for_those_let_in(self):
        for thread in threading.enumerate():
            if thread.name == "tunlab worker":
                thread.join()

    def knock(self, gate):
        door = socket.socket(socket.AF_UNIX)
        door.connect("\0" + gate.name)
        return door

    def test_hands_the_stream_over_and_hears_the_end_of_what_was_said(self, joined):
        gate, near, said = joined
        with self.knock(gate) as door:
            door.sendall(b"3\n")
            _, (descriptor,), _, _ = socket.recv_fds(door, 1, 1)
            os.write(descriptor, b"through")
            os.close(descriptor)
            assert near.recv(10) == b"through"
            door.sendall(b"last words")
        while not said:
            self.wait_for_those_let_in()
        assert said == [b"last words"]

    def test_gives_nothing_for_a_seat_without_a_container(self, joined):
        with self.knock(joined[0]) as door:
            door.sendall(b"4\n")
            assert socket.recv_fds(door, 1, 1)[1] == []

    def test_leaves_no_file(self, joined):
        assert not Path(joined[0].name).exists()


class TestTheClaim:
    def test_takes_the_frames_apart(self, capfdbinary):
        near, far = socket.socketpair()
        with near, far:
            frames = b"".join(
                bytes((stream, 0, 0, 0)) + len(octets).to_bytes(4) + octets
                for stream, octets in ((1, b"out"), (2, b"err"), (1, b""), (1, b"x" * 200_000), (2, b"y" * 9000))
            )

            def send():
                for start in range(0, len(frames), 7919):  # no border of a frame is one of a piece
                    near.sendall(frames[start : start + 7919])
                near.shutdown(socket.SHUT_WR)

            sending = threading.Thread(target=send)
            sending.start()
            tail = stream_bridge.backward(far)
            sending.join()
        shown = capfdbinary.readouterr()
        assert shown.out == b"out" + b"x" * 200_000
        assert shown.err == b"err" + b"y" * 9000
        assert tail == b"y" * 8192
