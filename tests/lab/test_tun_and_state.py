"""PersistentLab with one node: its record, locks, and the TUN's reader and inject server."""

import errno
import fcntl
import os
import select
import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from tunlab.errors import KernelError, LabError, MalformedError, TopologyError
from tunlab.kernel.device.tun import TunDevice
from tunlab.lab import PersistentLab
from tunlab.lab.persistent import state
from tunlab.lab.tun.inject import inject
from tunlab.lab.tun.inject_server import InjectServer, request_inject
from tunlab.lab.tun.reader import Reader, attach
from tunlab.packet import ICMP, IPv4, build, parse
from tunlab.topology import LabPlan, LabSpec, NodeSpec, plan

BELOW = "deep" * 25
"""A directory name longer than a socket address."""

SPEC = LabSpec("lab")
ECHO = build(IPv4(src="10.1.2.3", dst="10.1.2.1"), ICMP.echo_request(7, 1), b"ping")


@pytest.fixture(autouse=True)
def labs_of_its_own(run_directory):
    """Keep the labs of these tests below `run_directory`."""


@pytest.fixture
def lab():
    return PersistentLab.up(SPEC)


class TestRecord:
    def test_up_writes_the_complete_record(self, lab, run_directory):
        recorded = msgspec.json.decode((run_directory / "lab" / "lab.json").read_bytes())
        with lab.netns() as netns:
            assert recorded.pop("namespaces") == {"stack": list(netns.identity)}
        assert recorded.pop("created").endswith("+00:00")
        assert recorded.pop("owner") == os.getpid()
        started = Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]
        assert recorded.pop("owner_started") == int(started)
        assert msgspec.convert(recorded.pop("plan"), LabPlan) == plan(SPEC)
        assert recorded == {"name": "lab", "phase": "up", "containers": None}
        assert sorted(path.name for path in (run_directory / "lab").iterdir()) == ["lab.json", "net"]
        assert stat.S_IMODE((run_directory / "lab").stat().st_mode) == 0o755

    def test_damaged_record_is_a_broken_lab(self, lab, run_directory):
        file = run_directory / "lab" / "lab.json"
        whole = file.read_bytes()
        for damaged in (b"", b"{", b"\xff", b'{"name": 1}'):
            file.write_bytes(damaged)
            assert lab.status().condition == "broken"
        file.write_bytes(whole)
        assert lab.status().condition == "up"

    def test_reused_owner_pid_is_a_broken_lab(self):
        # Process 1 is there, but did not start when the record says.
        with state.create_directory("lab") as directory:
            pass
        mine = state.LabState.initial(SPEC)
        state.write(directory, mine)
        assert PersistentLab("lab").status().condition == "coming up"
        state.write(directory, msgspec.structs.replace(mine, owner=1))
        assert PersistentLab("lab").status().condition == "broken"

    def test_run_directory_defaults_without_environment(self, monkeypatch):
        monkeypatch.delenv("TUNLAB_RUN")
        assert state.run_directory() == Path("/run/tunlab")


class TestOneAtATime:
    def test_lab_coming_up_refuses_up_down_and_open(self):
        with state.create_directory("lab") as directory:
            assert PersistentLab("lab").status().condition == "coming up"
            state.write(directory, state.LabState.initial(SPEC))
            with pytest.raises(LabError) as caught:
                PersistentLab.up(SPEC)
            assert str(caught.value) == (
                f"lab 'lab' is coming up (process {os.getpid()}); wait for it, or choose another name"
            )
            with pytest.raises(LabError, match="another process is creating or removing lab 'lab'"):
                PersistentLab("lab").down()
            with pytest.raises(LabError, match="is coming up"):
                PersistentLab.open("lab")

    def test_status_and_down_wait_for_the_run_lock(self, run_directory):
        """Hold the run directory's lock, as `create_directory` does between mkdir and flock."""
        (run_directory / "lab").mkdir(parents=True)
        moment = os.open(run_directory, os.O_RDONLY)
        fcntl.flock(moment, fcntl.LOCK_EX)
        with ThreadPoolExecutor(2) as pool:
            looking, removing = pool.submit(PersistentLab("lab").status), pool.submit(PersistentLab("lab").down)
            lock = os.open(run_directory / "lab", os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            assert not looking.done()
            assert not removing.done()
            os.close(moment)
            assert looking.result().condition == "coming up"
            with pytest.raises(LabError, match="another process is creating or removing"):
                removing.result()
        os.close(lock)

    def test_up_in_six_threads_succeeds_once(self):
        def up(_):
            try:
                return PersistentLab.up(SPEC)
            except LabError as error:
                return error

        with ThreadPoolExecutor(6) as pool:
            done = list(pool.map(up, range(6)))
        assert sum(isinstance(each, PersistentLab) for each in done) == 1
        assert PersistentLab.open().name == "lab"


class TestUpAndDown:
    def test_up_invalid_mtu_leaves_nothing(self, run_directory):
        # An unchecked spec: the TUN driver rejects the MTU in the last step.
        spec = LabSpec("lab", {"stack": NodeSpec(ifname="tun0", tun="10.1.2.1/24", mtu=70_000)})
        with pytest.raises(KernelError):
            PersistentLab.up(spec)
        assert list(run_directory.iterdir()) == []

    def test_down_kills_processes_and_returns_them(self, lab):
        with lab.netns() as netns:
            program = netns.popen(["sleep", "600"])
        removed = lab.down()
        assert program.wait() < 0
        assert (removed.name, removed.ifname, removed.namespace) == ("lab", "tun0", True)
        assert removed.processes == [program.pid]
        with pytest.raises(LabError, match="there is no lab 'lab'"):
            lab.down()

    def test_deleted_tun_is_missing_in_status_and_down(self, lab):
        from tunlab.kernel.network.rtnl import Rtnl

        with lab.netns() as netns, Rtnl(netns) as rtnl:
            rtnl.delete_link(rtnl.link_index("tun0"))
        status = lab.status()
        assert (status.condition, status.addresses, status.attached) == ("up", [], False)
        assert lab.down().ifname == ""

    @pytest.mark.usefixtures("lab")
    def test_open_without_name_needs_a_single_lab(self, monkeypatch):
        assert PersistentLab.open().name == "lab"
        PersistentLab.up(LabSpec("other"))
        with pytest.raises(LabError, match="2 labs are up: lab, other; name one of them"):
            PersistentLab.open()
        monkeypatch.setenv("TUNLAB_LAB", "other")
        assert PersistentLab.open().name == "other"
        assert PersistentLab.open("lab").name == "lab"

    @pytest.mark.parametrize("name", ["", "..", "a/b", "x" * 16])
    def test_invalid_name_raises_topology_error(self, name):
        with pytest.raises(TopologyError):
            PersistentLab(name)


def assert_ends(reader):
    def read():
        while True:
            reader.take()

    with pytest.raises(LabError, match="tun0 in lab 'lab' was deleted or is down"):
        read()


class TestReader:
    def test_attach_returns_when_the_kernel_sends(self, lab):
        # Packets sent right after the device gets its carrier must not be lost.
        with lab.netns() as netns:
            for number in range(50):
                with attach(netns, "tun0") as device:
                    device.write(build(IPv4(src="10.1.2.3", dst="10.1.2.1"), ICMP.echo_request(7, number)))
                    assert device.wait(5)
                    assert parse(device.read()).icmp.sequence_number == number

    def test_second_reader_sees_the_same_packets(self, lab):
        with Reader(lab) as first, Reader(lab) as second:
            assert (first.attached, second.attached) == (True, False)
            assert inject(lab, [ECHO], to_reader=True) == []
            assert [each.data for each in first.take()] == [ECHO]
            assert [each.data for each in second.take()] == [ECHO]

    def test_reader_orders_injected_packet_before_reply(self, lab):
        with Reader(lab) as reader, ThreadPoolExecutor(1) as pool:
            inject(lab, [ECHO], to_reader=True)
            done = pool.submit(inject, lab, [ECHO])
            seen = []
            while len(seen) < 3:
                seen += reader.take()
            assert done.result() == []
        assert [each.direction for each in seen] == ["out", "in", "out"]
        assert [each.packet.icmp.type for each in seen] == [8, 8, 0]

    def test_reader_raises_after_down(self, lab):
        with Reader(lab) as attached, Reader(lab) as beside:
            lab.down()
            for reader in (attached, beside):
                assert_ends(reader)


class TestInject:
    def test_inject_without_reader_returns_the_reply(self, lab):
        (answer,) = inject(lab, [ECHO])
        assert parse(answer).icmp.type == 0

    def test_inject_non_ip_sends_nothing(self, lab):
        with Reader(lab) as reader:
            with pytest.raises(MalformedError):
                inject(lab, [ECHO, b"\x00"])
            assert reader.take() == []

    def test_inject_with_foreign_reader_raises_lab_error(self, lab):
        with lab.netns() as netns, TunDevice.attach(netns, "tun0"), pytest.raises(LabError) as caught:
            inject(lab, [ECHO])
        assert "tunlab inject --to-reader" in str(caught.value)


class TestInjectServer:
    def test_request_inject_returns_the_kernels_error(self, tmp_path):
        refusals = iter([None, errno.EIO])
        server = InjectServer(tmp_path, "tun0")
        written = []

        def write(octets):
            written.append(octets)
            if code := next(refusals):
                raise KernelError(code, "write")

        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(request_inject, tmp_path, "tun0", b"one")
            select.select([server], [], [])
            assert list(server.serve(write)) == [b"one"]
            assert first.result() is True
            second = pool.submit(request_inject, tmp_path, "tun0", b"x" * 65_535)
            select.select([server], [], [])
            assert list(server.serve(write)) == []
            with pytest.raises(KernelError) as caught:
                second.result()
        assert caught.value.errno == errno.EIO
        assert written == [b"one", b"x" * 65_535]
        server.close()
        assert request_inject(tmp_path, "tun0", b"late") is False

    def test_server_replaces_a_dead_socket(self, tmp_path):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
            here = os.open(tmp_path, os.O_RDONLY)
            dead.bind(f"/proc/self/fd/{here}/tun0.inject")
            os.close(here)
        assert request_inject(tmp_path, "tun0", b"nobody") is False
        server = InjectServer(tmp_path, "tun0")
        assert stat.S_IMODE((tmp_path / "tun0.inject").stat().st_mode) == 0o600
        server.close()
        assert list(tmp_path.iterdir()) == []
