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


# ---- creation, opening and closing of namespaces


def test_create_returns_new_namespace(netns, other_netns):
    assert len({netns.identity, other_netns.identity, own_identity()}) == 3


def test_created_namespace_has_only_lo(netns):
    assert [line.split(":")[0].strip() for line in netns.read_proc("dev").splitlines()[2:]] == ["lo"]


def test_create_sets_lo_up(netns):
    with netns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender, netns.socket(type=socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        sender.sendto(b"here", receiver.getsockname())
        assert receiver.recv(10) == b"here"


def test_create_without_loopback_leaves_lo_down():
    with Netns.create(loopback=False) as netns, netns.socket(type=socket.SOCK_DGRAM) as sender:
        with pytest.raises(OSError) as raised:
            sender.sendto(b"nowhere", ("127.0.0.1", 9))
        assert raised.value.errno == errno.ENETUNREACH


def test_create_leaves_calling_thread_in_its_namespace(netns):
    netns.call(os.getpid)
    assert own_identity() == identity_of_thread() != netns.identity


def identity_of_thread():
    status = Path("/proc/thread-self/ns/net").stat()
    return status.st_dev, status.st_ino


def test_fd_of_namespace_is_close_on_exec(netns):
    assert not os.get_inheritable(netns.fd)
    assert netns.fileno() == netns.fd


def test_identity_of_namespace_is_its_nsfs_inode(netns):
    status = os.fstat(netns.fd)
    assert netns.identity == (status.st_dev, status.st_ino)
    assert str(Path(f"/proc/self/fd/{netns.fd}").readlink()) == str(netns) == f"net:[{status.st_ino}]"


def test_namespace_may_be_closed_twice():
    netns = Netns.create()
    assert not netns.closed
    netns.close()
    netns.close()
    assert netns.closed
    assert repr(netns).endswith("closed>")
    with pytest.raises(KernelError, match="closed"):
        _ = netns.fd


def test_methods_of_closed_namespace_raise_ebadf():
    netns = Netns.create()
    netns.close()
    with pytest.raises(KernelError, match="closed"):
        netns.call(os.getpid)
    with pytest.raises(KernelError, match="closed"):
        netns.popen(["true"])


def test_with_block_closes_namespace_after_error():
    with pytest.raises(ZeroDivisionError), Netns.create() as netns:
        raise ZeroDivisionError
    assert netns.closed


def test_unclosed_namespace_emits_resource_warning():
    with pytest.warns(ResourceWarning, match="ns/net"):
        Netns.create()


def test_current_returns_namespace_of_calling_thread():
    with Netns.current() as netns:
        assert netns.identity == own_identity()


def test_current_inside_call_returns_namespace_of_the_call(netns):
    with netns.call(Netns.current) as again:
        assert again.identity == netns.identity
        assert again.fd != netns.fd


def test_of_process_returns_namespace_of_process(netns):
    with netns.popen(["sleep", "100"]) as sleeper:
        with Netns.of_process(sleeper.pid) as again:
            assert again.identity == netns.identity
        sleeper.kill()


def test_of_process_with_missing_process_raises_enoent():
    with pytest.raises(KernelError) as raised:
        Netns.of_process(2**22 + 1)
    assert raised.value.errno == errno.ENOENT


@pytest.mark.parametrize("path", ["/etc/passwd", "/proc/self/ns/uts", "/dev/null"])
def test_open_of_file_that_is_not_a_namespace_raises_einval(path):
    with pytest.raises(KernelError) as raised:
        Netns.open(path)
    assert raised.value.errno == errno.EINVAL
    assert "is not a network namespace" in str(raised.value)


def test_open_of_directory_raises():
    with pytest.raises(KernelError) as raised:
        Netns.open("/proc")
    assert raised.value.errno == errno.EISDIR


def test_create_with_invalid_sysctl_leaks_no_descriptor():
    with pytest.raises(KernelError) as raised:
        Netns.create(sysctls={"net.ipv4.nonsense": "1"})
    assert raised.value.errno == errno.ENOENT  # tunlab's leak check fails the test if a descriptor is open.


def test_create_executes_no_program(tmp_path, run_python):
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


def test_create_does_not_load_pyroute2(run_python):
    source = """
        import sys
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.device.tun import TunDevice
        with Netns.create() as netns, TunDevice.create(netns):
            print("pyroute2" in sys.modules, "asyncio" in sys.modules)
    """
    assert run_python(source).split() == ["False", "False"]


def test_error_of_create_without_capability_names_the_capability(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        try:
            Netns.create()
        except PrivilegeError as error:
            print(error.missing, error.exit_code, error)
    """
    output = run_python(source, prefix=["setpriv", "--bounding-set=-sys_admin"])
    sentence = "create a network namespace: you are root, but CAP_SYS_ADMIN is missing (EPERM). Run in"
    assert output.startswith(f"CAP_SYS_ADMIN 77 {sentence}")


def test_error_of_create_without_net_admin_names_the_sysctl(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        try:
            Netns.create()
        except PrivilegeError as error:
            print(error)
    """
    output = run_python(source, prefix=["setpriv", "--bounding-set=-net_admin"])
    assert output.startswith("sysctl net.ipv4.ip_forward=0: you are root, but CAP_NET_ADMIN is missing")


def test_enter_of_namespace_without_capability_raises(run_python, netns):
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
    output = run_python(source, prefix=["setpriv", "--bounding-set=-sys_admin"])
    assert output.split() == ["CAP_SYS_ADMIN", f"net:[{own_identity()[1]}]"]


def test_error_of_create_at_namespace_limit_gives_reason(run_python, with_whole_proc):
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
    assert "the maximum number of network namespaces (ENOSPC). Close some" in run_python(source, prefix=with_whole_proc)


# ---- use of namespaces


def test_call_returns_result_of_the_function(netns):
    assert netns.call(lambda *args, **kwargs: (args, kwargs), 1, 2, three=3) == ((1, 2), {"three": 3})


def test_call_propagates_exception_of_the_function(netns):
    with pytest.raises(ZeroDivisionError, match="inside"):
        netns.call(raise_inside)


def raise_inside():
    raise ZeroDivisionError("inside")


def test_call_propagates_base_exception_of_the_function(netns):
    def leave():
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        netns.call(leave)


def test_call_runs_the_function_in_namespace_and_new_thread(netns):
    thread, identity = netns.call(lambda: (threading.current_thread(), identity_of_thread()))
    assert identity == netns.identity
    assert thread is not threading.current_thread()
    assert not thread.is_alive()


def test_call_may_be_nested(netns, other_netns):
    inner, outer = netns.call(lambda: (other_netns.call(identity_of_thread), identity_of_thread()))
    assert (inner, outer) == (other_netns.identity, netns.identity)


def test_call_closes_sockets_of_a_function_that_raises(netns):
    sockets = []

    def fail():
        with socket.socket() as opened:
            sockets.append(opened.fileno())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        netns.call(fail)
    with pytest.raises(OSError):
        os.fstat(sockets[0])


def test_socket_of_netns_belongs_to_that_namespace(netns):
    with netns.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        port = listener.getsockname()[1]
        with netns.socket() as client:
            client.connect(("127.0.0.1", port))
        assert f":{port:04X}" in netns.read_proc("tcp")
        with socket.socket() as stranger, pytest.raises(ConnectionRefusedError):
            stranger.connect(("127.0.0.1", port))


def test_socket_works_after_namespace_is_closed():
    with Netns.create() as netns:
        listener = netns.socket()
    with listener:
        listener.bind(("127.0.0.1", 0))


def test_socket_with_invalid_family_raises_kernel_error(netns):
    with pytest.raises(KernelError) as raised:
        netns.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_UDP)
    assert raised.value.errno == errno.EPROTONOSUPPORT


def test_error_of_raw_socket_without_capability_names_the_capability(run_python):
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
    output = run_python(source, prefix=["setpriv", "--bounding-set=-net_raw"])
    assert output.split() == ["CAP_NET_RAW", "CAP_NET_RAW"]


def test_icmp_datagram_socket_needs_no_capability(netns):
    netns.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()


def test_read_proc_reads_file_of_namespace(netns):
    assert "10.1.2" not in netns.read_proc("fib_trie")
    assert netns.read_proc("dev") != read_own("dev")


def read_own(path):
    return Path("/proc/net", path).read_text()


def test_read_proc_of_missing_file_raises(netns):
    with pytest.raises(KernelError) as raised:
        netns.read_proc("nonsense")
    assert raised.value.errno == errno.ENOENT


# ---- pinning namespaces to files


def test_pinned_namespace_outlives_its_descriptor(tmp_path):
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


def test_pin_file_is_not_writable(tmp_path, netns):
    path = tmp_path / "net"
    path.write_text("there before")
    netns.pin(path)
    try:
        assert path.stat().st_ino == netns.identity[1]
    finally:
        unpin(path)
    assert not path.exists()


def test_pin_in_missing_directory_leaves_no_file(tmp_path, netns):
    with pytest.raises(KernelError) as raised:
        netns.pin(tmp_path / "missing" / "net")
    assert raised.value.errno == errno.ENOENT


def test_pin_without_capability_leaves_no_file(tmp_path, run_python):
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
    output = run_python(source, tmp_path / "net", prefix=["setpriv", "--bounding-set=-sys_admin"])
    assert output.strip() == "CAP_SYS_ADMIN"
    assert list(tmp_path.iterdir()) == []


def test_unpin_deletes_ordinary_file(tmp_path):
    (tmp_path / "net").touch()
    unpin(tmp_path / "net")
    assert list(tmp_path.iterdir()) == []


def test_unpin_of_missing_file_raises(tmp_path):
    with pytest.raises(KernelError, match="no namespace is pinned there") as raised:
        unpin(tmp_path / "net")
    assert raised.value.errno == errno.ENOENT


def test_open_of_pin_file_without_mount_raises_einval(tmp_path, netns):
    path = tmp_path / "net"
    path.touch()
    with pytest.raises(KernelError, match="is not a network namespace"):
        Netns.open(path)
