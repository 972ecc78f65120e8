import errno
import os
import socket
import threading
from pathlib import Path

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace.handle import unpin
from tunlab.kernel.namespace.netns import Netns


def own_identity():
    status = Path("/proc/self/ns/net").stat()
    return status.st_dev, status.st_ino


# ---- made, held, closed


def test_a_new_namespace_is_another_one(netns, other_netns):
    assert len({netns.identity, other_netns.identity, own_identity()}) == 3


def test_a_new_namespace_has_lo_alone(netns):
    assert [line.split(":")[0].strip() for line in netns.read_proc("dev").splitlines()[2:]] == ["lo"]


def test_lo_is_up_in_a_new_namespace(netns):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, netns.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"here", receiver.getsockname())
        assert receiver.recv(10) == b"here"


def test_lo_stays_down_where_it_is_not_wanted():
    with Netns.create(loopback=False) as netns, netns.socket(type=socket.SOCK_DGRAM) as sender:
        with pytest.raises(OSError) as raised:
            sender.sendto(b"nowhere", ("127.0.0.1", 9))
        assert raised.value.errno == errno.ENETUNREACH


def test_the_calling_thread_stays_where_it_is(netns):
    netns.call(os.getpid)
    assert own_identity() == identity_of_thread() != netns.identity


def identity_of_thread():
    status = Path("/proc/thread-self/ns/net").stat()
    return status.st_dev, status.st_ino


def test_the_descriptor_is_close_on_exec(netns):
    assert not os.get_inheritable(netns.fd)
    assert netns.fileno() == netns.fd


def test_the_identity_is_that_of_nsfs(netns):
    status = os.fstat(netns.fd)
    assert netns.identity == (status.st_dev, status.st_ino)
    assert str(Path(f"/proc/self/fd/{netns.fd}").readlink()) == str(netns) == f"net:[{status.st_ino}]"


def test_close_may_be_repeated():
    netns = Netns.create()
    assert not netns.closed
    netns.close()
    netns.close()
    assert netns.closed
    assert repr(netns).endswith("closed>")
    with pytest.raises(KernelError, match="closed"):
        _ = netns.fd


def test_a_closed_namespace_can_run_nothing():
    netns = Netns.create()
    netns.close()
    with pytest.raises(KernelError, match="closed"):
        netns.call(os.getpid)
    with pytest.raises(KernelError, match="closed"):
        netns.popen(["true"])


def test_the_context_closes_after_an_error():
    with pytest.raises(ZeroDivisionError), Netns.create() as netns:
        raise ZeroDivisionError
    assert netns.closed


def test_a_forgotten_namespace_warns_and_closes():
    with pytest.warns(ResourceWarning, match="ns/net"):
        Netns.create()


def test_the_current_namespace_is_the_threads():
    with Netns.current() as netns:
        assert netns.identity == own_identity()


def test_the_current_namespace_inside_another_is_that_one(netns):
    with netns.call(Netns.current) as again:
        assert again.identity == netns.identity
        assert again.fd != netns.fd


def test_the_namespace_of_a_process_is_its_own(netns):
    with netns.popen(["sleep", "100"]) as sleeper:
        with Netns.of_process(sleeper.pid) as again:
            assert again.identity == netns.identity
        sleeper.kill()


def test_the_namespace_of_no_process_is_refused():
    with pytest.raises(KernelError) as raised:
        Netns.of_process(2**22 + 1)
    assert raised.value.errno == errno.ENOENT


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/ns/uts", "/dev/null"])
def test_a_file_that_is_no_network_namespace_is_refused(path):
    with pytest.raises(KernelError) as raised:
        Netns.open(path)
    assert raised.value.errno == errno.EINVAL
    assert "is no network namespace" in str(raised.value)


def test_a_directory_is_refused():
    with pytest.raises(KernelError) as raised:
        Netns.open("/proc")
    assert raised.value.errno == errno.EISDIR


def test_a_failing_sysctl_leaves_nothing_behind():
    with pytest.raises(KernelError) as raised:
        Netns.create(sysctls={"net.ipv4.nonsense": "1"})
    assert raised.value.errno == errno.ENOENT  # and the leak check looks for the descriptor


def test_no_program_is_executed(tmp_path, run_python):
    source = """
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.device.tun import TunDevice
        with Netns.create() as netns, TunDevice.create(netns) as tun:
            tun.configure(["10.1.2.1/24"])
    """
    trace = tmp_path / "trace"
    run_python(source, prefix=["strace", "-f", "-qq", "-e", "trace=execve", "-o", str(trace)])
    executed = [line for line in trace.read_text().splitlines() if "execve(" in line]
    assert len(executed) == 1
    assert "python" in executed[0]


def test_pyroute2_is_not_loaded_for_a_bare_namespace(run_python):
    source = """
        import sys
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.device.tun import TunDevice
        with Netns.create() as netns, TunDevice.create(netns):
            print("pyroute2" in sys.modules, "asyncio" in sys.modules)
    """
    assert run_python(source).split() == ["False", "False"]


def test_without_the_capability_the_sentence_names_it(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        try:
            Netns.create()
        except PrivilegeError as error:
            print(error.missing, error.exit_code, error)
    """
    said = run_python(source, prefix=["setpriv", "--bounding-set=-sys_admin"])
    sentence = "make a network namespace: CAP_SYS_ADMIN is missing (EPERM); you are root, but without it"
    assert said.startswith(f"CAP_SYS_ADMIN 77 {sentence}")


def test_without_net_admin_the_first_sysctl_is_named(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        try:
            Netns.create()
        except PrivilegeError as error:
            print(error)
    """
    said = run_python(source, prefix=["setpriv", "--bounding-set=-net_admin"])
    assert said.startswith("sysctl net.ipv4.ip_forward=0: CAP_NET_ADMIN is missing")


def test_entering_without_the_capability_is_refused(run_python, netns):
    source = """
        import sys
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        with Netns.current() as netns:
            try:
                netns.call(print, "inside")
            except PrivilegeError as error:
                print(error.missing, error.netns)
    """
    said = run_python(source, prefix=["setpriv", "--bounding-set=-sys_admin"])
    assert said.split() == ["CAP_SYS_ADMIN", f"net:[{own_identity()[1]}]"]


def test_the_users_limit_of_namespaces_is_explained(run_python, with_whole_proc):
    source = """
        from tunlab.errors import KernelError
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.userns import enter_user_namespace
        enter_user_namespace()
        open_to_close = open("/proc/sys/user/max_net_namespaces", "w")
        open_to_close.write("0")
        open_to_close.close()
        try:
            Netns.create()
        except KernelError as error:
            print(error)
    """
    assert "as many network namespaces as this user may have (ENOSPC); close some" in run_python(
        source, prefix=with_whole_proc
    )


# ---- inside


def test_call_returns_what_the_function_returns(netns):
    assert netns.call(lambda *args, **kwargs: (args, kwargs), 1, 2, three=3) == ((1, 2), {"three": 3})


def test_call_raises_what_the_function_raises(netns):
    with pytest.raises(ZeroDivisionError, match="inside"):
        netns.call(raise_inside)


def raise_inside():
    raise ZeroDivisionError("inside")


def test_call_carries_what_is_no_exception_too(netns):
    def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        netns.call(leave)


def test_call_runs_in_the_namespace_and_in_a_thread_of_its_own(netns):
    thread, identity = netns.call(lambda: (threading.current_thread(), identity_of_thread()))
    assert identity == netns.identity
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_calls_may_be_nested(netns, other_netns):
    inner, outer = netns.call(lambda: (other_netns.call(identity_of_thread), identity_of_thread()))
    assert (inner, outer) == (other_netns.identity, netns.identity)


def test_a_failed_call_frees_its_sockets_at_once(netns):
    sockets = []

    def fail():
        with socket.socket() as opened:
            sockets.append(opened.fileno())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        netns.call(fail)
    with pytest.raises(OSError):
        os.fstat(sockets[0])


def test_a_socket_belongs_to_the_namespace(netns):
    with netns.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with netns.socket() as client:
            client.connect(("127.0.0.1", port))
        assert f":{port:04X}" in netns.read_proc("tcp")
        with socket.socket() as stranger, pytest.raises(ConnectionRefusedError):
            stranger.connect(("127.0.0.1", port))


def test_a_socket_outlives_the_namespaces_descriptor():
    with Netns.create() as netns:
        listener = netns.socket()
    with listener:
        listener.bind(("127.0.0.1", 0))


def test_an_impossible_socket_is_an_error_of_this_floor(netns):
    with pytest.raises(KernelError) as raised:
        netns.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP)
    assert raised.value.errno == errno.EPROTONOSUPPORT


def test_a_raw_socket_without_the_capability_names_it(run_python):
    source = """
        import socket
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        with Netns.create() as netns:
            for kind in ((socket.AF_INET, socket.SOCK_RAW, 1), (socket.AF_PACKET, socket.SOCK_DGRAM, 0)):
                try:
                    netns.socket(*kind)
                except PrivilegeError as error:
                    print(error.missing)
    """
    said = run_python(source, prefix=["setpriv", "--bounding-set=-net_raw"])
    assert said.split() == ["CAP_NET_RAW", "CAP_NET_RAW"]


def test_a_ping_socket_needs_no_right(netns):
    netns.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()


def test_read_proc_reads_the_namespaces_own(netns):
    assert "10.1.2" not in netns.read_proc("fib_trie")
    assert netns.read_proc("dev") != read_own("dev")


def read_own(path):
    return Path("/proc/net", path).read_text()


def test_read_proc_of_no_file_is_refused(netns):
    with pytest.raises(KernelError) as raised:
        netns.read_proc("nonsense")
    assert raised.value.errno == errno.ENOENT


# ---- names


def test_a_pinned_namespace_outlives_its_descriptor(tmp_path):
    path = tmp_path / "net"
    with Netns.create() as netns:
        netns.pin(path)
        identity = netns.identity
    try:
        with Netns.open(path) as again:
            assert again.identity == identity
    finally:
        unpin(path)
    assert not path.exists()


def test_a_pinned_namespace_is_not_writable_as_a_file(tmp_path, netns):
    path = tmp_path / "net"
    path.write_text("there before")
    netns.pin(path)
    try:
        assert path.stat().st_ino == netns.identity[1]
    finally:
        unpin(path)
    assert not path.exists()


def test_pinning_to_nowhere_leaves_nothing(tmp_path, netns):
    with pytest.raises(KernelError) as raised:
        netns.pin(tmp_path / "missing" / "net")
    assert raised.value.errno == errno.ENOENT


def test_pinning_without_the_capability_leaves_no_file(tmp_path, run_python):
    source = """
        import sys
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        with Netns.current() as netns:
            try:
                netns.pin(sys.argv[1])
            except PrivilegeError as error:
                print(error.missing)
    """
    said = run_python(source, tmp_path / "net", prefix=["setpriv", "--bounding-set=-sys_admin"])
    assert said.strip() == "CAP_SYS_ADMIN"
    assert list(tmp_path.iterdir()) == []


def test_unpinning_what_was_never_pinned_deletes_the_file(tmp_path):
    (tmp_path / "net").touch()
    unpin(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_unpinning_nothing_is_refused(tmp_path):
    with pytest.raises(KernelError, match="nothing is pinned there") as raised:
        unpin(tmp_path / "net")
    assert raised.value.errno == errno.ENOENT


def test_a_pin_whose_mount_is_gone_is_explained(tmp_path, netns):
    path = tmp_path / "net"
    path.touch()
    with pytest.raises(KernelError, match=r"no network namespace \(any more\)"):
        Netns.open(path)
