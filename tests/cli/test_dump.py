"""`tunlab dump`: output formats, filters, recordings, exit codes, and other programs on the TUN."""

import json
import os
import re
import signal
import subprocess

import pytest

from tunlab.kernel.device.tun import TunDevice
from tunlab.lab import PersistentLab
from tunlab.lab.tun.inject import inject
from tunlab.packet import ICMP, IGMP, TCP, UDP, ICMPv6, IPv4, IPv6, TCPFlag, build, parse
from tunlab.recorder import read_pcapng

PEER, OWN = "10.1.2.3", "10.1.2.1"
ECHO = build(IPv4(src=PEER, dst=OWN), ICMP.echo_request(7, 1), b"ping")


@pytest.fixture
def send(lab):
    """Return a function that delivers packets to the TUN's reader as if the kernel had sent them."""
    return lambda *datagrams: inject(PersistentLab("lab"), datagrams, to_reader=True)


ICMP_ = ECHO
IGMP_ = build(IPv4(src=OWN, dst="224.0.0.1", ttl=1), IGMP(type=0x11, group="0.0.0.0"))
TCP_ = build(IPv4(src=OWN, dst="192.0.2.7"), TCP(src_port=40000, dst_port=80, flags=TCPFlag.SYN))
UDP_ = build(IPv4(src=OWN, dst=PEER), UDP(src_port=5353, dst_port=53), b"query")
OSPF = build(IPv4(src=OWN, dst="224.0.0.5", protocol=89), b"hello")
IPV6 = b"\x60" + bytes(39)
TCP6 = build(IPv6(src="fd00::1", dst="fd00::2"), TCP(src_port=40000, dst_port=80, flags=TCPFlag.SYN))
ECHO6 = build(IPv6(src="fd00::1", dst="fd00::2"), ICMPv6.echo_request(7, 1))
SENT = {
    "icmp": ICMP_, "igmp": IGMP_, "tcp": TCP_, "udp": UDP_, "ospf": OSPF, "ipv6": IPV6, "tcp6": TCP6, "icmp6": ECHO6,
}  # fmt: skip


def test_dump_of_a_veth_shows_good_tcp_checksums(command, start, router, need):
    dump = start("dump", "router/server", "--port", "80", "--count", "5", "--json")
    dump.wait_for("listening on eth0 in node server of lab router")
    assert command("exec", "client", "--", need("curl"), "--silent", "--max-time", "20", "http://server/").status == 0
    result = dump.end()
    assert result.status == 0
    first, *others = map(json.loads, result.out.splitlines())
    assert (first["direction"], first["ipv4"]["src"], first["ipv4"]["dst"]) == ("in", "10.0.1.1", "10.0.2.2")
    assert {each["direction"] for each in others} == {"in", "out"}
    assert [each["findings"] for each in (first, *others)] == [[]] * 5
    assert {each["checksums"]["tcp"] for each in others} == {"good"}


def test_dump_with_interface_option_shows_packets_of_that_interface(start, router, command, need):
    dump = start("dump", "router/router", "--interface", "lan0", "--protocol", "icmp", "--count", "2", "--oneline")
    dump.wait_for("listening on lan0 in node router of lab router")
    command("exec", "client", "--", need("ping"), "-c", "1", "server")
    lines = dump.end().out.splitlines()
    assert "10.0.1.1 > 10.0.2.2: ICMP echo request" in lines[0]
    assert "10.0.2.2 > 10.0.1.1: ICMP echo reply" in lines[1]


@pytest.mark.parametrize("options", [["--protocol", "arp"], ["--all", "--address", "10.0.1.2"]])
def test_dump_of_a_veth_shows_arp_only_with_an_option(start, router, command, need, tmp_path, options):
    file = tmp_path / "arp.pcapng"
    dump = start("dump", "router/client", *options, "--count", "2", "--oneline", "--write", str(file))
    assert dump.wait_for("listening") == "listening on eth0 in node client of lab router\n"
    command("exec", "client", "--", need("ping"), "-c", "1", "server")
    shown = dump.end().out.splitlines()
    assert len(shown) == 2
    assert " ARP who has 10.0.1.2? tell 10.0.1.1" in shown[0]
    assert " ARP 10.0.1.2 is at " in shown[1]
    fields = ["-T", "fields", "-e", "arp.opcode"]
    seen = subprocess.run([need("tshark"), "-r", file, *fields], capture_output=True, text=True, check=True)
    assert seen.stdout.split() == ["1", "2"]


def test_dump_of_a_veth_prints_the_link_header_of_a_frame(start, router, command, need):
    dump = start("dump", "router/client", "--protocol", "icmp", "--count", "1", "--verbose")
    dump.wait_for("listening")
    command("exec", "client", "--", need("ping"), "-c", "1", "server")
    out = dump.end().out
    assert out.startswith("=== Parsed IP Packet ===\nEthernet:\n  Dst: ")
    assert "  Type: IPv4 (0x0800)\nIP Packet:\n" in out
    assert "Raw frame bytes:\nLink headers (14 bytes):\n" in out
    assert "08 00\nHeader (IHL: 20 bytes):\n45 00 00 54\n" in out


@pytest.mark.usefixtures("router")
def test_dump_of_a_lab_with_several_nodes_shows_packets_of_its_only_tun(start, command, need):
    dump = start("dump", "router", "--count", "1", "--oneline")
    dump.wait_for("listening on tun0 in node stack of lab router")
    command("exec", "stack", "--", need("ping"), "-c", "1", "-W", "0.1", "10.9.0.2")
    assert "10.9.0.1 > 10.9.0.2: ICMP echo request" in dump.end().out


@pytest.mark.usefixtures("router")
def test_error_of_dump_with_unknown_interface_names_the_interface(tunlab):
    result = tunlab("dump", "router/client", "--interface", "eth7")
    assert result.status in (71, 73)
    assert "eth7" in result.err
    assert result.err.count("\n") == 1


def test_dump_of_a_veth_exits_73_when_the_lab_is_taken_down(tunlab, start, router):
    dump = start("dump", "router/client")
    dump.wait_for("listening")
    tunlab("down", "router")
    result = dump.end()
    assert (result.status, result.err.splitlines()[-1]) == (
        73,
        "tunlab: eth0 of lab router/client is down or was deleted. `tunlab ls` lists the labs that are up.",
    )


def test_dump_at_both_ends_of_a_link_exits_73_when_the_lab_is_taken_down(tunlab, assert_released, start):
    """Each dump keeps one end of the link alive, so neither packet socket reports that the lab is down."""
    tunlab("up", "two-hosts")
    with assert_released("two-hosts", "a", "b"):
        dumps = [start("dump", f"two-hosts/{node}") for node in ("a", "b")]
        for dump in dumps:
            dump.wait_for("listening")
        tunlab("down", "two-hosts")
        assert [dump.end().status for dump in dumps] == [73, 73]


def test_dump_of_an_echo_request_prints_listing_and_hex_dump(dump, command, need):
    running = dump("--count", "1")
    command("exec", "lab", "--", need("ping"), "-c", "1", "-W", "0.1", PEER)
    result = running.end()
    assert result.status == 0
    hex_bytes = re.sub(r"\b[0-9a-f]{2}\b", "__", result.out[result.out.index("Header") + 24 :])
    assert result.out.startswith(
        "=== Parsed IP Packet ===\n"
        "IP Packet:\n"
        "  Version: IPv4\n"
        "  IHL: 5 (words)\n"
        "  Total Length: 84 bytes\n"
        "  Source: 10.1.2.1\n"
        "  Destination: 10.1.2.3\n"
        "  Payload Length: 64 bytes\n"
        "  Protocol: ICMP\n"
        "\n"
        "=== Raw Packet Hexdump ===\n"
        "\n"
        "Raw IP packet bytes:\n"
        "Header (IHL: 20 bytes):\n"
        "45 00 00 54\n"
    )
    row = "__ __ __ __\n"
    assert hex_bytes == f"{row * 5}\nPayload:\n{row * 16}\n"
    assert result.err == "1 packet shown\n"


def test_dump_with_verbose_option_prints_every_field(dump, send):
    running = dump("--count", "1", "--verbose")
    send(build(IPv4(src=OWN, dst=PEER, ttl=9, checksum=0), ICMP.echo_request(7, 1)))
    out = running.end().out
    assert "  TTL: 9\n" in out
    assert re.search(r"Header Checksum: 0x0000 \(bad, should be 0x[0-9a-f]{4}\)", out)
    assert "ICMP:\n  Type: 8 (echo request)\n" in out


def test_dump_with_oneline_option_prints_one_summary_per_packet(dump, send):
    running = dump("--count", "2", "--oneline")
    send(ECHO, build(IPv4(src=OWN, dst=PEER), TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN)))
    lines = running.end().out.splitlines()
    assert len(lines) == 2
    assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6} IP 10.1.2.3 > 10.1.2.1: ICMP echo request, id 7, .*", lines[0])
    assert " IP 10.1.2.1.1 > 10.1.2.3.2: Flags [S]" in lines[1]


def test_dump_with_json_option_prints_fields_and_bytes(dump, send):
    running = dump("--count", "1", "--json")
    send(ECHO)
    (line,) = running.end().out.splitlines()
    seen = json.loads(line)
    assert bytes.fromhex(seen["bytes"]) == ECHO
    assert (seen["direction"], seen["ipv4"]["src"], seen["icmp"]["identifier"]) == ("out", PEER, 7)
    assert seen["findings"] == []
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", seen["time"])
    assert seen["time"].endswith(f"{seen['time_ns'] % 10**9:09}Z")


def test_dump_of_non_ipv4_packets_prints_the_parse_error(dump, send):
    running = dump("--count", "2", "--all")
    send(b"\x60" + bytes(9), b"\x45\x00")
    out = running.end().out
    assert "=== Not a Packet ===\nIPv6 header needs 40 bytes, got 10" in out
    assert "IPv4 header needs 20 bytes, got 2" in out
    assert out.count("=== Raw Packet Hexdump ===") == 2


def test_dump_with_json_option_prints_the_parse_error_of_non_ipv4_packets(dump, send):
    running = dump("--count", "1", "--all", "--json")
    send(b"\x45\x00")
    seen = json.loads(running.end().out)
    assert seen["bytes"] == "4500"
    assert seen["error"].startswith("IPv4 header needs 20 bytes")


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "icmp igmp tcp ospf"),
        (("--all",), "icmp igmp tcp udp ospf ipv6 tcp6 icmp6"),
        (("--protocol", "icmp"), "icmp"),
        (("--protocol", "IGMP"), "igmp"),
        (("--protocol", "tcp"), "tcp tcp6"),
        (("--protocol", "udp"), "udp"),
        (("--protocol", "89"), "ospf"),
        (("--all", "--protocol", "tcp"), "tcp tcp6"),
        (("--address", PEER), "icmp udp"),
        (("--all", "--address", PEER), "icmp udp"),
        (("--address", "192.0.2.0/28"), "tcp"),
        (("--src", OWN), "igmp tcp udp ospf"),
        (("--dst", "10.1.2.0/24"), "icmp udp"),
        (("--src", PEER, "--dst", OWN), "icmp"),
        (("--src", OWN, "--dst", OWN), ""),
        (("--port", "53"), "udp"),
        (("--port", "40000"), "tcp tcp6"),
        (("--protocol", "icmp6"), "icmp6"),
        (("--address", "fd00::1"), "tcp6 icmp6"),
        (("--protocol", "tcp", "--port", "53"), ""),
    ],
)
def test_dump_with_filter_options_shows_only_matching_packets(dump, send, tunlab, lab, options, shown):
    running = dump("--json", *options)
    send(*SENT.values())
    wanted = [SENT[name].hex() for name in shown.split()]
    lines = [json.loads(running.process.stdout.readline())["bytes"] for _ in wanted]
    assert lines == wanted
    result = running.end(signal.SIGINT)
    assert (result.out, result.err) == ("", f"{len(wanted)} packet{'' if len(wanted) == 1 else 's'} shown\n")


def test_dump_shows_injected_packet_and_the_kernels_answer(dump, tunlab):
    running = dump("--count", "2", "--json")
    assert tunlab("inject", ECHO.hex()).status == 0
    first, second = map(json.loads, running.end().out.splitlines())
    assert (first["direction"], bytes.fromhex(first["bytes"])) == ("in", ECHO)
    assert (second["direction"], second["icmp"]["type"], second["ipv4"]["dst"]) == ("out", 0, PEER)


def test_dump_shows_packets_of_a_tun_that_another_program_has_open(start, lab):
    with lab.netns() as netns, TunDevice.attach(netns, "tun0") as device:
        running = start("dump", "lab", "--count", "2", "--json")
        result = running.wait_for("listening")
        assert result == (
            "listening on tun0 in lab lab, which another program has open: IPv4 except UDP; --all shows every packet\n"
        )
        device.write(ECHO)
        assert device.wait(30)
        assert parse(device.read()).icmp.type == 0
        first, second = map(json.loads, running.end().out.splitlines())
    assert (first["direction"], bytes.fromhex(first["bytes"])) == ("in", ECHO)
    assert (second["direction"], second["icmp"]["type"]) == ("out", 0)


def test_two_dumps_of_one_lab_show_the_same_packets(dump, start, send):
    first = dump("--count", "1", "--json")
    second = start("dump", "--count", "1", "--json")
    second.wait_for("another program has open")
    send(ECHO)
    seen = [json.loads(running.end().out)["bytes"] for running in (first, second)]
    assert seen == [ECHO.hex()] * 2


def test_dump_shows_the_echo_request_of_tunlab_ping(dump, tunlab):
    running = dump("--count", "1", "--oneline")
    assert tunlab("ping", PEER, "--timeout", "0.05").status == 1
    assert f"{OWN} > {PEER}: ICMP echo request" in running.end().out


def test_dump_with_write_option_creates_a_file_that_tshark_reads(dump, send, need, tmp_path):
    file = tmp_path / "dump.pcapng"
    running = dump("--count", "2", "--write", str(file))
    send(ICMP_, UDP_, TCP_)
    assert running.end().status == 0
    fields = ["-T", "fields", "-e", "ip.src", "-e", "ip.dst", "-e", "ip.proto", "-e", "frame.interface_name"]
    seen = subprocess.run([need("tshark"), "-r", file, *fields], capture_output=True, text=True, check=True)
    assert seen.stdout.splitlines() == [f"{PEER}\t{OWN}\t1\ttun0", f"{OWN}\t192.0.2.7\t6\ttun0"]
    assert [(each.data, each.direction) for each in read_pcapng(file)] == [(ICMP_, "out"), (TCP_, "out")]


@pytest.mark.usefixtures("lab")
def test_dump_with_write_option_to_missing_directory_exits_71(tunlab, tmp_path):
    result = tunlab("dump", "--write", str(tmp_path / "no" / "dump.pcapng"))
    assert (result.status, result.out) == (71, "")
    assert result.err.startswith(f"tunlab: open {tmp_path}/no/dump.pcapng")
    assert "No such file or directory" in result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dump_ended_by_sigint_or_sigterm_exits_0(dump, send, number, run_directory):
    running = dump("--oneline")
    assert (run_directory / "lab" / "tun0.inject").stat().st_mode & 0o777 == 0o600
    send(ECHO)
    running.process.stdout.readline()
    assert running.end(number) == (0, "", "1 packet shown\n")
    assert not (run_directory / "lab" / "tun0.inject").exists()


def test_dump_to_a_closed_pipe_exits_0(dump, send):
    reading, writing = os.pipe()
    running = dump("--oneline", stdout=writing)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        send(ECHO)
        assert "echo request" in pipe.readline()
    running.process.wait(60)
    assert (running.process.returncode, running.process.stderr.read()) == (0, "")


@pytest.mark.usefixtures("lab")
def test_dump_that_times_out_before_count_packets_exits_1(tunlab):
    assert tunlab("dump", "--timeout", "0.01").status == 0
    result = tunlab("dump", "--timeout", "0.01", "--count", "1")
    assert (result.status, result.out) == (1, "")
    assert result.err.endswith("0 packets shown\ntunlab: timeout of 0.01 s: 0 of 1 packets were shown\n")


def test_dump_after_a_killed_dump_shows_packets_again(dump, start, tunlab, run_directory):
    dump().end(signal.SIGKILL)
    assert (run_directory / "lab" / "tun0.inject").exists()
    assert tunlab("inject", ECHO.hex()).status == 0
    running = start("dump", "lab", "--count", "2", "--oneline")
    assert running.wait_for("listening").startswith("listening on tun0 in lab lab: IPv4 except UDP;")
    assert tunlab("inject", ECHO.hex()).status == 0
    assert len(running.end().out.splitlines()) == 2


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ("--protocol", "x"),
            "Error: Invalid value for '--protocol': 'x' is not a protocol. Give ah, arp, destinationoptions, ethernet,",
        ),
        (("--protocol", "256"), "Error: Invalid value for '--protocol': '256' is not a protocol. Give "),
        (
            ("--address", "10.1.2"),
            (
                "Error: Invalid value for '--address': '10.1.2' is not an IP address or network. Give one like"
                " 10.1.2.3, 10.1.2.0/24 or fd00::1"
            ),
        ),
        (
            ("--src", "10.1.2.3/24"),
            ("Error: Invalid value for '--src': '10.1.2.3/24' has host bits set. Did you mean 10.1.2.0/24?"),
        ),
        (("--port", "65536"), "Error: Invalid value for '--port': 65536 is not in the range 0<=x<=65535."),
        (("--count", "0"), "Error: Invalid value for '-c' / '--count': 0 is not in the range x>=1."),
        (("--cuont", "1"), "Error: No such option '--cuont'."),
    ],
)
def test_dump_with_invalid_option_exits_2(tunlab, options, sentence):
    result = tunlab("dump", *options)
    assert (result.status, result.out) == (2, "")
    assert sentence in result.err


def test_dump_with_json_and_oneline_options_exits_2(tunlab):
    for options in (("--json", "--oneline"), ("--oneline", "--json")):
        result = tunlab("dump", *options)
        assert (result.status, result.out) == (2, "")
        assert "--json and --oneline exclude each other. Give one of them." in result.err


def test_dump_with_no_lab_up_exits_73(tunlab):
    assert tunlab("dump") == (73, "", "tunlab: no lab is up. `tunlab up` creates one.\n")


def test_dump_without_name_while_two_labs_are_up_exits_73(tunlab):
    tunlab("up", "--name", "a")
    tunlab("up", "--name", "b")
    assert tunlab("dump") == (73, "", "tunlab: 2 labs are up: a, b. Name one of them: `tunlab dump a`.\n")


@pytest.mark.parametrize("command", ["dump", "ping 10.1.2.3", "replay x.pcapng"])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_timeout_option_that_is_not_finite_is_a_usage_error(tunlab, tmp_path, monkeypatch, command, value):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "x.pcapng").touch()
    result = tunlab(*command.split(), "--timeout", value)
    assert result.status == 2
    assert f"Invalid value for '--timeout': {value} is not a finite time. Give a number of seconds, for" in result.err
