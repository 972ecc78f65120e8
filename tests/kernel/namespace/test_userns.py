"""User namespaces for users without root, and the command that enters one."""

import os
from pathlib import Path

import pytest

from tunlab.errors import KernelError
from tunlab.kernel.namespace import userns
from tunlab.kernel.namespace.userns import enter_user_namespace

LAUNCHER = ("-m", "tunlab.kernel.namespace.userns")

# This program uses all that tests use: a namespace, a TUN, addresses, packets, packet sockets and programs.
EVERYTHING = """
    import os, socket
    from tunlab.kernel.network.counters import read_counters
    from tunlab.kernel.namespace.netns import Netns
    from tunlab.kernel.device.packet_socket import PacketSocket
    from tunlab.kernel.device.tun import TunDevice
    assert os.getuid() == 65534 and os.getgid() == 65534
    with Netns.create() as netns, Netns.create() as other, TunDevice.create(netns) as tun:
        tun.configure(["10.1.2.1/24"])
        with PacketSocket(netns, "tun0") as packets:
            packets.send(b"\\x50")
            assert tun.read() == b"\\x50"
        netns.socket(socket.AF_INET, socket.SOCK_DGRAM, socket.IPPROTO_ICMP).close()
        netns.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
        netns.set_sysctl("net.ipv4.ip_forward", 1)
        tun.rtnl.add_veth("a", "b", peer_netns=other)
        ping = netns.run(["ping", "-c1", "-W5", "10.1.2.1"], capture_output=True, text=True)
        assert ping.returncode == 0, ping
        assert read_counters(netns)["Icmp.InEchos"] == 1
        status = netns.run(["grep", "CapEff", "/proc/self/status"], capture_output=True, text=True).stdout
        assert int(status.split()[1], 16) >> 12 & 1
        with netns.popen(["sleep", "1000"]) as sleeper:
            assert netns.processes() == netns.kill_processes() == [sleeper.pid]
    print("everything works")
"""


def test_userns_command_without_root_allows_every_feature(run_python):
    assert run_python(EVERYTHING, nobody=True, launcher=LAUNCHER).strip() == "everything works"


def test_enter_user_namespace_without_root_allows_every_feature(run_python):
    enter = "\n    from tunlab.kernel.namespace.userns import enter_user_namespace\n    enter_user_namespace()"
    assert run_python(enter + EVERYTHING, nobody=True).strip() == "everything works"


def test_userns_command_with_inaccessible_tun_node_fails_only_at_tun_creation(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.device.tun import TunDevice
        with Netns.create() as netns:
            try:
                TunDevice.create(netns)
            except PrivilegeError as error:
                print(error.missing, error.reason)
    """
    output = run_python(source, nobody=True, launcher=LAUNCHER, tun_mode=0o600)
    assert (
        output.strip()
        == "/dev/net/tun /dev/net/tun has mode 0600, an owner outside this user namespace, and you are uid 65534"
    )


def test_error_of_create_netns_without_root_names_userns_command(run_python):
    source = """
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        try:
            Netns.create()
        except PrivilegeError as error:
            print(error.missing, error.remedy)
    """
    output = run_python(source, nobody=True)
    assert output.startswith("CAP_SYS_ADMIN run as root")
    assert output.strip().endswith("`python -m tunlab.kernel.namespace.userns PROGRAM`")


def test_programs_of_userns_command_keep_capabilities(run_python):
    source = """
        import subprocess
        print(subprocess.check_output(["grep", "Cap", "/proc/self/status"], text=True))
    """
    masks = run_python(source, nobody=True, launcher=LAUNCHER).split()[1::2]
    inheritable, permitted, effective, _, ambient = (int(mask, 16) for mask in masks)
    assert inheritable == permitted == effective == ambient
    for capability in (12, 13, 21):
        assert ambient >> capability & 1


def test_enter_user_namespace_as_root_works(run_python, with_whole_proc):
    source = """
        import os
        from tunlab.kernel.namespace.netns import Netns
        print(os.getuid())
        with Netns.create() as netns:
            print(netns.sysctl("net.ipv4.ip_forward"))
    """
    assert run_python(source, prefix=with_whole_proc, launcher=LAUNCHER).split() == ["0", "0"]


def test_enter_user_namespace_with_threads_raises(run_python):
    source = """
        import threading
        from tunlab.errors import KernelError
        from tunlab.kernel.namespace.userns import enter_user_namespace
        hold = threading.Event()
        thread = threading.Thread(target=hold.wait)
        thread.start()
        try:
            enter_user_namespace()
        except KernelError as error:
            print(error)
        hold.set()
        thread.join()
    """
    output = run_python(source)
    assert output.strip() == (
        "enter a user namespace: this process has 2 threads and must have one (EINVAL). "
        "Start the program with `python -m tunlab.kernel.namespace.userns PROGRAM`."
    )


def test_error_of_enter_user_namespace_at_limit_zero_gives_reason(run_python, with_whole_proc):
    # The new user namespace has its own limit, so the machine's limit stays as it is.
    source = """
        from tunlab.errors import KernelError
        from tunlab.kernel.namespace.userns import enter_user_namespace
        enter_user_namespace()
        with open("/proc/sys/user/max_user_namespaces", "w") as file:
            file.write("0")
        try:
            enter_user_namespace()
        except KernelError as error:
            print(error)
    """
    output = run_python(source, prefix=with_whole_proc)
    assert output.startswith(
        "enter a user namespace: the limit of user namespaces is 0 (user.max_user_namespaces=0) (ENOSPC)"
    )
    assert "sysctl -w user.max_user_namespaces=10000" in output


@pytest.mark.parametrize("name", sorted(userns._SYSCTLS))
def test_find_obstacle_gives_reason_for_each_sysctl_that_forbids_user_namespaces(name, tmp_path, monkeypatch):
    bad, reason, remedy = userns._SYSCTLS[name]
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_text(bad + "\n")
    monkeypatch.setattr(userns, "_PROC_SYS", tmp_path)
    assert userns.find_obstacle() == (reason, remedy)
    assert name.replace("/", ".") in reason
    (tmp_path / name).write_text({"0": "1", "1": "0"}[bad])
    assert userns.find_obstacle() is None


def test_find_obstacle_on_this_machine_returns_none():
    assert userns.find_obstacle() is None


def test_userns_command_without_program_prints_usage(run_python, capfd):
    assert userns.main([]) == 64
    assert capfd.readouterr().err.startswith("usage: python -m tunlab.kernel.namespace.userns PROGRAM")


def test_userns_command_with_missing_program_prints_one_message(run_python):
    source = "import sys; from tunlab.kernel.namespace import userns; sys.exit(userns.main(['no-such-program']))"
    output = run_python(source, status=71)
    assert output.strip() == (
        "run no-such-program: there is no program 'no-such-program' on this machine (ENOENT). "
        "Install it, or give its full path."
    )


def test_userns_command_passes_arguments_and_exit_status(run_python):
    assert (
        run_python("import sys; print(sys.argv[1:]); sys.exit(0)", "a", "b c", launcher=LAUNCHER).strip()
        == "['a', 'b c']"
    )
    run_python("import sys; sys.exit(9)", launcher=LAUNCHER, status=9)


def test_enter_user_namespace_in_child_leaves_parent_unchanged():
    before = Path("/proc/self/ns/user").readlink()
    threads = len(list(Path("/proc/self/task").iterdir()))
    if threads == 1:
        pid = os.fork()
        if not pid:
            enter_user_namespace()
            os._exit(Path("/proc/self/ns/user").readlink() == before)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    else:
        with pytest.raises(KernelError):
            enter_user_namespace()
    assert Path("/proc/self/ns/user").readlink() == before


REFUSED = """
    from pathlib import Path
    from tunlab.errors import KernelError
    from tunlab.kernel.namespace.userns import enter_user_namespace
    before = Path("/proc/self/ns/user").readlink()
    try:
        enter_user_namespace()
    except KernelError as error:
        print(type(error).__name__, Path("/proc/self/ns/user").readlink() == before, error, sep="|")
"""


def test_enter_user_namespace_without_setfcap_raises_before_entering(run_python):
    output = run_python(REFUSED, prefix=["setpriv", "--bounding-set=-setfcap"])
    assert output.strip() == (
        "PrivilegeError|True|enter a user namespace: mapping user 0 needs CAP_SETFCAP (user_namespaces(7)), which is"
        " missing (EPERM). Run as another user, or in a container with --cap-add SETFCAP."
    )


def test_enter_user_namespace_with_read_only_proc_raises_before_entering(run_python):
    read_only = ["unshare", "--mount", "sh", "-ec", 'mount -o remount,bind,ro /proc; exec "$@"', "sh"]
    output = run_python(REFUSED, prefix=read_only)
    assert output.startswith("KernelError|True|map the user and group into the user namespace: Read-only file system")


def test_error_of_enter_user_namespace_with_refused_mapping_gives_reason(run_python, need):
    # strace lets the write of the map fail, as a security module that takes the capabilities away would.
    strace = [need("strace"), "-qq", "-o", "/dev/null", "-e", "trace=write"]
    output = run_python(REFUSED, prefix=[*strace, "-e", "inject=write:error=EPERM:when=1"])
    kind, stayed_outside, sentence = output.strip().split("|")
    assert (kind, stayed_outside) == ("KernelError", "False")
    assert sentence.startswith("map the user and group into the user namespace: a security module")


def test_errors_in_namespace_of_machine_do_not_advise_a_user_namespace(run_python):
    source = """
        import errno
        from tunlab.errors import PrivilegeError
        from tunlab.kernel.namespace.netns import Netns
        from tunlab.kernel.namespace.handle import unpin
        with Netns.current() as netns:
            for attempt in (lambda: netns.call(int), lambda: netns.pin("/mnt/work/x"), lambda: unpin("/mnt/work")):
                try:
                    attempt()
                except PrivilegeError as error:
                    print(error.missing, error.remedy.startswith("run as root, or in"), "userns" in str(error))
    """
    assert run_python(source, nobody=True).split() == ["CAP_SYS_ADMIN", "True", "False"] * 3
