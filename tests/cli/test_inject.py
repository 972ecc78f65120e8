"""`tunlab inject`: input formats, programs that have the TUN open, and invalid input."""

import io
import json
import signal
import subprocess
import sys

import pytest

from tunlab.cli.inject import _read_input
from tunlab.errors import TruncatedRecordingError
from tunlab.packet import ICMP, TCP, UDP, IPv4, IPv6, TCPFlag, build
from tunlab.recorder import LINKTYPE_ETHERNET, PcapngWriter

PEER, OWN = "10.1.2.3", "10.1.2.1"
ECHO = build(IPv4(src=PEER, dst=OWN), ICMP.echo_request(7, 1), b"ping")
ANSWERED = "answered: IP 10.1.2.1 > 10.1.2.3: ICMP echo reply, id 7, seq 1, length 12\n"
INJECTED = "injected: IP 10.1.2.3 > 10.1.2.1: ICMP echo request, id 7, seq 1, length 12\n"
HINT = "Give two hexadecimal digits per byte, for example 45 00 00 1c."
NOTHING = "Give a packet in hexadecimal, a pcapng file, or - for standard input."


def test_inject_into_second_tun_is_routed_to_the_first(tunlab, start):
    tunlab("up", "two-stacks")
    dump = start("dump", "two-stacks", "--interface", "tun0", "--count", "1", "--oneline")
    dump.wait_for("listening on tun0 in lab two-stacks")
    other = start("dump", "two-stacks", "--interface", "tun1")
    other.wait_for("listening on tun1")
    request = build(IPv4(src="10.1.3.2", dst="10.1.2.2"), ICMP.echo_request(1, 1), b"payload")
    result = tunlab("inject", "--lab", "two-stacks", "--interface", "tun1", request.hex())
    assert result.status == 0, result.err
    assert "10.1.3.2 > 10.1.2.2: ICMP echo request" in dump.end().out
    assert other.end(signal.SIGINT).status == 0


@pytest.mark.usefixtures("router")
def test_inject_into_node_without_tun_exits_73(tunlab):
    assert tunlab("inject", "--lab", "router/client", "--as-is", "45").err == (
        "tunlab: node client of lab 'router' has no TUN. Choose a node with a TUN.\n"
    )
    assert tunlab("inject", "--lab", "router", "--interface", "tun7", "--as-is", "45").err == (
        "tunlab: node stack of lab 'router' has no TUN tun7. Its TUNs are tun0.\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        ECHO.hex(),
        ECHO.hex(" ").upper(),
        "\n".join(ECHO[at : at + 4].hex(" ") for at in range(0, len(ECHO), 4)),
        "\n".join(f"\t0x{at:04x}:  {ECHO[at : at + 16].hex(' ', 2)}" for at in range(0, len(ECHO), 16)),
    ],
    ids=["hex", "spaced", "hexdump", "tcpdump -x"],
)
@pytest.mark.usefixtures("lab")
def test_inject_accepts_each_hexadecimal_format(tunlab, text):
    assert tunlab("inject", text) == (0, INJECTED + ANSWERED, "")


@pytest.mark.usefixtures("lab")
def test_inject_from_stdin_injects_one_packet_per_line(command):
    result = command("inject", "-", stdin=None, input=f"{ECHO.hex()}\n\n{ECHO.hex(' ')}\n")
    assert result == (0, INJECTED * 2 + ANSWERED * 2, "")


@pytest.mark.usefixtures("lab")
def test_inject_of_a_recording_injects_ipv6_and_skips_arp(tunlab, tmp_path):
    file = tmp_path / "x.pcapng"
    with PcapngWriter.create(file) as writer:
        raw = writer.add_interface("tun0")
        ethernet = writer.add_interface("eth0", linktype=LINKTYPE_ETHERNET)
        writer.write(raw, ECHO, time_ns=0)
        writer.write(ethernet, bytes(12) + b"\x08\x00" + ECHO, time_ns=0)
        six = build(IPv6(src="fd00::1", dst="fd00::2"), UDP(1, 2))
        writer.write(ethernet, bytes(12) + b"\x81\0\0\x07\x86\xdd" + six, time_ns=0)
        writer.write(ethernet, bytes(12) + b"\x08\x06" + bytes(28), time_ns=0)
    result = tunlab("inject", str(file))
    assert result == (
        0,
        INJECTED * 2 + "injected: IP6 fd00::1.1 > fd00::2.2: UDP, length 0\n" + ANSWERED * 2,
        f"skipped 1 of 4 packets in {file}, which is not IP (link type 1)\n",
    )
    assert file.read_bytes()


@pytest.mark.usefixtures("lab")
def test_inject_of_a_truncated_recording_injects_complete_packets_then_exits_65(tunlab, tmp_path):
    file = tmp_path / "x.pcapng"
    with PcapngWriter.create(file) as writer:
        raw = writer.add_interface("tun0")
        writer.write(raw, ECHO, time_ns=0)
        writer.write(raw, ECHO, time_ns=0)
    file.write_bytes(file.read_bytes()[:-5])
    result = tunlab("inject", str(file))
    assert (result.status, result.out) == (65, INJECTED + ANSWERED)
    assert result.err.startswith(f"tunlab: {file}: the pcapng file ends inside the block at offset ")
    assert result.err.count("\n") == 1


def test_error_of_inject_of_a_truncated_recording_names_file_and_offset(tmp_path):
    file = tmp_path / "x.pcapng"
    with PcapngWriter.create(file) as writer:
        writer.write(writer.add_interface("tun0"), ECHO, time_ns=0)
    size = file.stat().st_size
    file.write_bytes(file.read_bytes() + b"\6\0\0\0")
    packets, error = _read_input(str(file))
    assert packets == [ECHO]
    assert isinstance(error, TruncatedRecordingError)
    assert (error.file, error.layer, error.offset, error.present) == (str(file), "pcapng", size, 4)


@pytest.mark.usefixtures("lab")
def test_inject_of_a_recording_reports_all_skipped_packets_in_one_line(tunlab, tmp_path):
    file = tmp_path / "x.pcapng"
    with PcapngWriter.create(file) as writer:
        wireless, ethernet = (writer.add_interface("x", linktype=linktype) for linktype in (105, LINKTYPE_ETHERNET))
        for interface in (wireless, ethernet) * 100:
            writer.write(interface, bytes(40), time_ns=0)
        writer.write(ethernet, bytes(12) + b"\x08\x00" + ECHO, time_ns=0)
    result = tunlab("inject", str(file))
    assert result == (
        0,
        INJECTED + ANSWERED,
        f"skipped 200 of 201 packets in {file}, which are not IP (link type 1, 105)\n",
    )


@pytest.mark.usefixtures("lab")
def test_inject_reads_a_recording_from_stdin(environment):
    recording = io.BytesIO()
    writer = PcapngWriter(recording)
    writer.write(writer.add_interface("tun0"), ECHO, time_ns=0)
    done = subprocess.run(
        [sys.executable, "-m", "tunlab", "inject", "-"],
        input=recording.getvalue(), env=environment, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stdout.decode() == INJECTED + ANSWERED


@pytest.mark.usefixtures("lab")
def test_inject_accepts_the_bytes_that_dump_prints(command, dump, tunlab):
    running = dump("--json", "--count", "1")
    tunlab("inject", ECHO.hex())
    data = json.loads(running.end().out)["bytes"]
    assert command("inject", "-", stdin=None, input=data).out == INJECTED + ANSWERED


@pytest.mark.usefixtures("lab")
def test_inject_with_no_program_on_the_tun_prints_the_answer_of_the_kernel(tunlab):
    syn = build(IPv4(src=PEER, dst=OWN), TCP(src_port=9, dst_port=9, flags=TCPFlag.SYN))
    result = tunlab("inject", syn.hex())
    assert "answered: IP 10.1.2.1.9 > 10.1.2.3.9: Flags [R.]" in result.out


def test_inject_while_dump_runs_prints_no_answers(tunlab, dump):
    dump()
    assert tunlab("inject", ECHO.hex()) == (0, INJECTED, "")


@pytest.mark.usefixtures("foreign_reader")
def test_inject_while_another_program_has_the_tun_open_exits_73(tunlab):
    result = tunlab("inject", ECHO.hex())
    assert result == (
        73,
        "",
        (
            "tunlab: a program other than tunlab is attached to tun0 in lab 'lab'. End the program, or send it the"
            " bytes as if from the kernel: `tunlab inject --to-reader`.\n"
        ),
    )


def test_inject_with_to_reader_option_sends_any_bytes_to_the_program_on_the_tun(tunlab, foreign_reader):
    for data in (ECHO, b"\x05", bytes(7)):
        assert tunlab("inject", "--to-reader", data.hex()).status == 0
        assert foreign_reader.read() == data


@pytest.mark.usefixtures("lab")
def test_inject_with_to_reader_option_but_no_program_on_the_tun_exits_73(tunlab):
    result = tunlab("inject", "--to-reader", ECHO.hex())
    assert (result.status, result.err) == (
        73,
        "tunlab: no program reads tun0 in lab 'lab'. Start the program under test, or run `tunlab dump lab`.\n",
    )


@pytest.mark.usefixtures("lab")
def test_inject_marks_a_bad_checksum_in_its_output(tunlab):
    result = tunlab("inject", build(IPv4(src=PEER, dst=OWN, checksum=1), ICMP.echo_request(7, 1)).hex())
    assert result.status == 0
    assert "[bad IPv4 checksum 0x0001, should be 0x" in result.out
    assert "answered" not in result.out


def test_inject_while_dump_runs_prints_the_error_from_the_kernel(dump, tunlab, lab):
    dump()
    with lab.netns() as netns:
        from tunlab.kernel.network.rtnl import Rtnl

        with Rtnl(netns) as rtnl:
            rtnl.set_link(rtnl.link_index("tun0"), up=False)
    result = tunlab("inject", ECHO.hex())
    assert (result.status, result.err) == (71, "tunlab: inject into tun0: Input/output error (EIO)\n")


@pytest.mark.parametrize(
    ("source", "sentence"),
    [
        ("450", f"'450' has an odd number of hexadecimal digits, 3. {HINT}"),
        ("45 0", f"'45 0' has an odd number of hexadecimal digits, 3. {HINT}"),
        ("zz", f"'zz' is not hexadecimal: 'z' is not a digit. {HINT}"),
        ("", f"'' has no bytes. {NOTHING}"),
        ("  ", f"'  ' has no bytes. {NOTHING}"),
        (
            "45 00",
            (
                "the input is not an IP packet: IPv4 header needs 20 bytes, got 2 (input ended at offset 2)"
                ". Give --as-is to inject it anyway."
            ),
        ),
        ("45" * 65_536, "IP.length is 65536: a datagram has at most 65535 bytes (RFC 791 section 3.1)"),
    ],
    ids=["odd", "odd-spaced", "not-hex", "empty", "blank", "no-packet", "too-long"],
)
@pytest.mark.usefixtures("lab")
def test_inject_of_invalid_input_exits_65(tunlab, source, sentence):
    assert tunlab("inject", source) == (65, "", f"tunlab: {sentence}\n")


@pytest.mark.usefixtures("lab")
def test_inject_with_as_is_option_accepts_a_truncated_header(tunlab):
    result = tunlab("inject", "--as-is", "45 00")
    assert (result.status, result.err) == (0, "")
    assert result.out.startswith("injected: 2 bytes, not an IP packet: ")
    result = tunlab("inject", "--as-is", "05 00")
    sentence = (
        "tunlab: IP.version at offset 0 is 0: the kernel accepts only 4 and 6 from a TUN. `tunlab inject --to-reader`"
        " sends any bytes to the TUN's reader.\n"
    )
    assert result == (65, "", sentence)


@pytest.mark.usefixtures("lab")
def test_inject_of_two_packets_with_one_invalid_injects_none(command):
    result = command("inject", "-", stdin=None, input=f"{ECHO.hex()}\n4500\n")
    assert (result.status, result.out) == (65, "")
    assert result.err.startswith("tunlab: packet 2 of 2 is not an IP packet: ")


@pytest.mark.usefixtures("lab")
def test_error_of_inject_with_invalid_stdin_names_the_line(command):
    result = command("inject", "-", stdin=None, input=f"{ECHO.hex()}\n4\n")
    assert result == (65, "", f"tunlab: line 2 has an odd number of hexadecimal digits, 1. {HINT}\n")
    assert command("inject", "-").err == f"tunlab: standard input has no bytes. {NOTHING}\n"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"", "the recording is empty"),
        (b"GIF89a, no recording", "recording.magic at offset 0 is b'GIF8': pcapng and pcap begin with other bytes"),
        (bytes.fromhex("0a0d0d0a1c0000004d3c2b1a"), "the pcapng file ends inside"),
    ],
    ids=["empty", "foreign", "cut"],
)
@pytest.mark.usefixtures("lab")
def test_inject_of_an_invalid_recording_exits_65(tunlab, tmp_path, data, sentence):
    file = tmp_path / "x.pcapng"
    file.write_bytes(data)
    result = tunlab("inject", str(file))
    assert (result.status, result.out) == (65, "")
    assert result.err.startswith(f"tunlab: {file}: {sentence}")
    assert result.err.count("\n") == 1


@pytest.mark.parametrize("count", [0, 3])
@pytest.mark.usefixtures("lab")
def test_inject_of_a_recording_without_ipv4_packets_exits_65(tunlab, tmp_path, count):
    file = tmp_path / "x.pcapng"
    with PcapngWriter.create(file) as writer:
        wireless = writer.add_interface("wlan0", linktype=105)
        for _ in range(count):
            writer.write(wireless, bytes(40), time_ns=0)
    why = {
        0: f"{file} has no packets",
        3: f"none of the 3 packets in {file} is IP (link type 105)",
    }
    assert tunlab("inject", str(file)) == (65, "", f"tunlab: {why[count]}. Give a recording with IP packets.\n")


@pytest.mark.parametrize("arguments", [("inject", ECHO.hex()), ("ping", OWN)])
def test_inject_and_ping_without_lab_option_while_two_labs_are_up_exit_73(tunlab, arguments):
    tunlab("up", "--name", "a")
    tunlab("up", "--name", "b")
    result = tunlab(*arguments)
    assert result == (73, "", "tunlab: 2 labs are up: a, b. Name one of them: `--lab a`.\n")
    assert tunlab(*arguments, "--lab", "a").status == 0


@pytest.mark.usefixtures("lab")
def test_inject_of_a_packet_truncated_by_snaplen_exits_65(tunlab, tmp_path):
    file = tmp_path / "x.pcapng"
    with PcapngWriter.create(file) as writer:
        writer.write(writer.add_interface("tun0", snaplen=24), ECHO, time_ns=0)
    result = tunlab("inject", str(file))
    assert (result.status, result.out) == (65, "")
    assert f"packet 1 of {file} was truncated in the capture: the file has 24 of its 32 bytes" in result.err


@pytest.mark.usefixtures("lab")
def test_inject_of_missing_file_exits_71(tunlab, tmp_path):
    result = tunlab("inject", str(tmp_path / "no.pcapng"))
    assert (result.status, result.out) == (71, "")
    assert result.err.startswith(f"tunlab: open {tmp_path}/no.pcapng: No such file or directory (ENOENT)")
