"""The error classes: messages, exit codes, base classes and pickling."""

import copy
import errno
import pickle

import pytest

from tunlab import errors
from tunlab.errors import (
    CountError,
    DeviceError,
    EngineError,
    ExpectationError,
    KernelError,
    LabError,
    MalformedError,
    PacketError,
    PrivilegeError,
    Problem,
    TopologyError,
    TruncatedError,
    TruncatedRecordingError,
    TunlabError,
)

TREE = {
    TunlabError: (70, Exception),
    PacketError: (65, ValueError),
    TruncatedError: (65, PacketError),
    TruncatedRecordingError: (65, TruncatedError),
    MalformedError: (65, PacketError),
    TopologyError: (78, ValueError),
    KernelError: (71, OSError),
    PrivilegeError: (77, KernelError),
    LabError: (73, RuntimeError),
    ExpectationError: (1, AssertionError),
    CountError: (1, ExpectationError),
    DeviceError: (76, RuntimeError),
    EngineError: (69, RuntimeError),
}

ERRORS = [
    (TunlabError("ended by SIGTERM"), "ended by SIGTERM"),
    (PacketError("the payload is empty"), "the payload is empty"),
    (
        TruncatedError(layer="IPv4", field="", offset=0, needed=20, present=3, length_from="input"),
        "IPv4 header needs 20 bytes, got 3 (input ended at offset 3). Give the whole packet.",
    ),
    (
        TruncatedRecordingError(layer="pcap", field="packet", offset=40, needed=76, present=20, length_from="input"),
        (
            "the pcap file ends inside the packet at offset 40, which needs 76 bytes, got 20. Use the packets before"
            " that offset, or record or copy the file again."
        ),
    ),
    (
        TruncatedRecordingError(
            layer="recording", field="file header", offset=0, needed=4, present=0, length_from="input"
        ),
        "the recording is empty. Give a pcapng or pcap file.",
    ),
    (
        MalformedError(layer="TCP", field="seq", value=-1, rule="the field has 32 bits"),
        "TCP.seq is -1: the field has 32 bits",
    ),
    (
        MalformedError(layer="IPv4", field="version", value=6, rule="IPv4 has version 4", offset=0),
        "IPv4.version at offset 0 is 6: IPv4 has version 4",
    ),
    (
        MalformedError(layer="address", field="", value="x", rule="not an IPv4 address"),
        "address is 'x': not an IPv4 address",
    ),
    (TopologyError("no node"), "no node"),
    (
        TopologyError("no node", file="lab.toml", table="link.0", key="ends", hint="Did you mean router?"),
        "lab.toml: `link.0.ends` no node. Did you mean router?",
    ),
    (TopologyError("empty", file="lab.toml"), "lab.toml: empty"),
    (TopologyError("unknown", key="mtu"), "`mtu` unknown"),
    (
        TopologyError(
            problems=[Problem("is 20", "a.toml", "nodes.a", "mtu", "Set 68 or more."), Problem("is empty", "b.toml")]
        ),
        "a.toml: `nodes.a.mtu` is 20. Set 68 or more.\nb.toml: is empty",
    ),
    (KernelError(errno.EEXIST, "link add tun0"), "link add tun0: EEXIST"),
    (
        KernelError(
            errno.EBUSY,
            "open tun0",
            reason="device in use",
            remedy="close the other descriptor",
            netns="peer",
            ifname="tun0",
        ),
        "open tun0: device in use (EBUSY). Close the other descriptor.",
    ),
    (KernelError(9999, "call"), "call: 9999"),
    (
        PrivilegeError(errno.EPERM, "create a namespace", missing="CAP_SYS_ADMIN", remedy="run as root"),
        "create a namespace: CAP_SYS_ADMIN is missing (EPERM). Run as root.",
    ),
    (
        PrivilegeError(errno.ENOENT, "open", missing="/dev/net/tun", reason="there is no /dev/net/tun"),
        "open: there is no /dev/net/tun (ENOENT)",
    ),
    (LabError("demo", "lab demo is already up"), "lab demo is already up"),
    (LabError("demo", "lab demo is not up", remedy="run tunlab up demo"), "lab demo is not up. Run tunlab up demo."),
    (
        ExpectationError(wanted="TCP(dst_port=80)", elapsed=1.5),
        "waited 1.500 s for TCP(dst_port=80)\nno packet arrived",
    ),
    (
        ExpectationError(wanted="TCP()", seen=["IP a > b\n  differs"], elapsed=0.25, recording="/x/a.pcapng"),
        "waited 0.250 s for TCP()\n1 packet arrived:\n  1. IP a > b\n       differs\nrecorded in /x/a.pcapng",
    ),
    (
        ExpectationError(wanted="UDP()", seen=("one", "two")),
        "waited 0.000 s for UDP()\n2 packets arrived:\n  1. one\n  2. two",
    ),
    (
        CountError(wanted={"Ip.InHdrErrors": 1}, changes={"Ip.InReceives": 2}),
        (
            "kernel counters changed by other amounts than expected:\n  Ip.InHdrErrors: wanted 1, got 0  <<<"
            "\nother counters that changed: Ip.InReceives 2"
        ),
    ),
    (DeviceError("./stack tun0", "exited with status 1"), "./stack tun0 exited with status 1"),
    (
        DeviceError("./stack tun0", "exited with status 1", remedy="run it by hand", output="one\ntwo"),
        "./stack tun0 exited with status 1. Run it by hand.\nthe end of its output:\n  one\n  two",
    ),
    (EngineError("no answer"), "no answer"),
    (
        EngineError(
            "container ended", engine="unix:///docker.sock", container="abc", log="last line", remedy="see its log"
        ),
        "unix:///docker.sock: container ended. See its log.\nlast line",
    ),
]
each_error = pytest.mark.parametrize(("error", "message"), ERRORS, ids=lambda value: type(value).__name__)


@each_error
def test_str_of_error_is_its_message(error, message):
    assert str(error) == message


@pytest.mark.parametrize(
    ("problem", "remedy", "message"),
    [
        ("x is 20", "set 68", "x is 20. Set 68."),
        ("x is 20", "", "x is 20"),
        ("no node sever", "did you mean server?", "no node sever. Did you mean server?"),
        ("it is gone.", "`tunlab ls` lists labs", "it is gone. `tunlab ls` lists labs."),
        ("no carrier", "tun.device.up() starts it.", "no carrier. tun.device.up() starts it."),
        ("it exited", "see its output\n  line 1\n  line 2", "it exited. See its output.\n  line 1\n  line 2"),
    ],
)
def test_problem_and_remedy_of_error_are_two_sentences(problem, remedy, message):
    assert str(LabError("lab", problem, remedy=remedy)) == message


def test_error_with_kernel_reason_that_ends_in_a_full_stop_has_only_one():
    error = KernelError(errno.ENOENT, "add the qdisc", reason="Specified qdisc kind is unknown.", remedy="load it")
    assert str(error) == "add the qdisc: Specified qdisc kind is unknown (ENOENT). Load it."


def test_every_error_class_has_an_example_in_this_module():
    assert {type(error) for error, _ in ERRORS} == set(TREE)
    classes = {each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)}
    assert classes == set(TREE)


@pytest.mark.parametrize(("kind", "exit_code", "parent"), [(kind, *rest) for kind, rest in TREE.items()])
def test_every_error_class_has_exit_code_and_base_class(kind, exit_code, parent):
    assert kind.exit_code == exit_code
    assert issubclass(kind, parent)
    assert issubclass(kind, TunlabError)
    assert f"{exit_code}" in errors.__doc__


def test_errors_module_docstring_lists_every_class():
    for kind in TREE:
        assert kind.__name__ in errors.__doc__


@each_error
@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickled_or_copied_error_keeps_message_and_attributes(error, message, protocol):
    unpickled = pickle.loads(pickle.dumps(error, protocol))
    for copied in (unpickled, copy.copy(error), copy.deepcopy(error)):
        assert type(copied) is type(error)
        assert str(copied) == message
        assert (copied.args, vars(copied)) == (error.args, vars(error))
        if isinstance(error, OSError):
            assert (copied.errno, copied.strerror) == (error.errno, error.strerror)


@each_error
def test_message_of_packet_error_with_file_starts_with_path_of_the_file(error, message):
    if isinstance(error, PacketError):
        with_file = copy.copy(error)
        with_file.file = "x.pcapng"
        assert str(with_file) == str(pickle.loads(pickle.dumps(with_file))) == f"x.pcapng: {message}"
        assert str(error) == with_file.message == message


def test_pickled_error_keeps_notes():
    error = KernelError(errno.EPERM, "link add")
    error.add_note("a note")
    assert pickle.loads(pickle.dumps(error)).__notes__ == ["a note"]


def test_kernel_error_sets_errno_and_strerror():
    error = KernelError(errno.ENODEV, "link set tun0 up", reason="no such device")
    assert (error.errno, error.strerror, error.args) == (
        errno.ENODEV,
        "no such device",
        (errno.ENODEV, "no such device"),
    )
    assert KernelError(errno.ENODEV, "x").strerror == "ENODEV"
    with pytest.raises(OSError, match="no such device") as caught:
        raise error
    assert caught.value.errno == errno.ENODEV


def test_arguments_of_error_constructor_become_attributes():
    truncated = ERRORS[2][0]
    assert (truncated.layer, truncated.offset, truncated.needed, truncated.present) == ("IPv4", 0, 20, 3)
    assert ExpectationError(wanted="x", seen=["a"]).seen == ("a",)
    denied = PrivilegeError(1, "x", missing="CAP_NET_ADMIN", netns="net:[1]", ifname="tun0")
    assert (denied.missing, denied.netns, denied.ifname) == ("CAP_NET_ADMIN", "net:[1]", "tun0")
