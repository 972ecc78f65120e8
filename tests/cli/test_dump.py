"""`tunlab dump`: what crosses the TUN, in every form, chosen, counted and recorded."""

import json
import os
import re
import signal
import subprocess

import pytest

from tunlab.kernel.tun import TunDevice
from tunlab.lab import Lab
from tunlab.lab.tun.inject import inject
from tunlab.packet import ICMP, IGMP, TCP, UDP, IPv4, TCPFlag, build, parse
from tunlab.recorder import read_pcapng

PEER, OWN = "10.1.2.3", "10.1.2.1"
ECHO = build(IPv4(src=PEER, dst=OWN), ICMP.echo_request(7, 1), b"ping")


@pytest.fixture
def speak(lab):
    """`speak(octets, …)`: put datagrams on the TUN as if the kernel had sent them, in order; whoever reads has them."""
    return lambda *datagrams: inject(Lab("lab"), datagrams, to_reader=True)


class TestForms:
    def test_a_real_ping_in_the_form_of_the_post(self, dump, command, need):
        running = dump("--count", "1")
        command("exec", "lab", "--", need("ping"), "-c", "1", "-W", "0.1", PEER)
        said = running.end()
        assert said.status == 0
        octets = re.sub(r"\b[0-9a-f]{2}\b", "__", said.out[said.out.index("Header") + 24 :])
        assert said.out.startswith(
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
        assert octets == f"{row * 5}\nPayload:\n{row * 16}\n"
        assert said.err == "1 packet shown\n"

    def test_verbose_adds_every_field(self, dump, speak):
        running = dump("--count", "1", "--verbose")
        speak(build(IPv4(src=OWN, dst=PEER, ttl=9, checksum=0), ICMP.echo_request(7, 1)))
        out = running.end().out
        assert "  TTL: 9\n" in out
        assert re.search(r"Header Checksum: 0x0000 \(bad, should be 0x[0-9a-f]{4}\)", out)
        assert "ICMP:\n  Type: 8 (echo request)\n" in out

    def test_oneline(self, dump, speak):
        running = dump("--count", "2", "--oneline")
        speak(ECHO, build(IPv4(src=OWN, dst=PEER), TCP(src_port=1, dst_port=2, flags=TCPFlag.SYN)))
        lines = running.end().out.splitlines()
        assert len(lines) == 2
        assert re.fullmatch(r"\d\d:\d\d:\d\d\.\d{6} IP 10.1.2.3 > 10.1.2.1: ICMP echo request, id 7, .*", lines[0])
        assert " IP 10.1.2.1.1 > 10.1.2.3.2: Flags [S]" in lines[1]

    def test_json_has_the_fields_and_the_octets(self, dump, speak):
        running = dump("--count", "1", "--json")
        speak(ECHO)
        (line,) = running.end().out.splitlines()
        seen = json.loads(line)
        assert bytes.fromhex(seen["octets"]) == ECHO
        assert (seen["direction"], seen["ipv4"]["src"], seen["icmp"]["identifier"]) == ("out", PEER, 7)
        assert seen["findings"] == []
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z", seen["time"])
        assert seen["time"].endswith(f"{seen['time_ns'] % 10**9:09}Z")

    def test_what_is_no_ipv4_has_its_reason(self, dump, speak):
        running = dump("--count", "2", "--all")
        speak(b"\x60" + bytes(39), b"\x45\x00")
        out = running.end().out
        assert "=== No IPv4 Packet ===\nIPv4.version at offset 0 is 6" in out
        assert "IPv4 header needs 20 bytes, got 2" in out
        assert out.count("=== Raw Packet Hexdump ===") == 2

    def test_what_is_no_ipv4_as_json(self, dump, speak):
        running = dump("--count", "1", "--all", "--json")
        speak(b"\x45\x00")
        seen = json.loads(running.end().out)
        assert seen["octets"] == "4500"
        assert seen["error"].startswith("IPv4 header needs 20 bytes")


ICMP_ = ECHO
IGMP_ = build(IPv4(src=OWN, dst="224.0.0.1", ttl=1), IGMP(type=0x11, group="0.0.0.0"))
TCP_ = build(IPv4(src=OWN, dst="192.0.2.7"), TCP(src_port=40000, dst_port=80, flags=TCPFlag.SYN))
UDP_ = build(IPv4(src=OWN, dst=PEER), UDP(src_port=5353, dst_port=53), b"query")
OSPF = build(IPv4(src=OWN, dst="224.0.0.5", protocol=89), b"hello")
IPV6 = b"\x60" + bytes(39)
SENT = {"icmp": ICMP_, "igmp": IGMP_, "tcp": TCP_, "udp": UDP_, "ospf": OSPF, "ipv6": IPV6}
LAST = build(IPv4(src="192.0.2.99", dst="192.0.2.98"), ICMP.echo_request(99, 99))


@pytest.mark.parametrize(
    ("options", "shown"),
    [
        ((), "icmp igmp tcp ospf"),
        (("--all",), "icmp igmp tcp udp ospf ipv6"),
        (("--protocol", "icmp"), "icmp"),
        (("--protocol", "IGMP"), "igmp"),
        (("--protocol", "tcp"), "tcp"),
        (("--protocol", "udp"), "udp"),
        (("--protocol", "89"), "ospf"),
        (("--all", "--protocol", "tcp"), "tcp"),
        (("--address", PEER), "icmp"),
        (("--all", "--address", PEER), "icmp udp"),
        (("--address", "192.0.2.0/28"), "tcp"),
        (("--src", OWN), "igmp tcp ospf"),
        (("--dst", "10.1.2.0/24"), "icmp"),
        (("--src", PEER, "--dst", OWN), "icmp"),
        (("--src", OWN, "--dst", OWN), ""),
        (("--port", "53"), "udp"),
        (("--port", "40000"), "tcp"),
        (("--protocol", "tcp", "--port", "53"), ""),
    ],
)
def test_what_is_chosen(dump, speak, tunlab, lab, options, shown):
    # Its end is the device's: what was sent before that has all been read.
    running = dump("--json", *options)
    speak(*SENT.values())
    wanted = [SENT[name].hex() for name in shown.split()]
    lines = [json.loads(running.process.stdout.readline())["octets"] for _ in wanted]
    assert lines == wanted
    said = running.end(signal.SIGINT)
    assert (said.out, said.err) == ("", f"{len(wanted)} packet{'' if len(wanted) == 1 else 's'} shown\n")


class TestBothDirections:
    def test_what_is_injected_through_the_reader_and_its_answer(self, dump, tunlab):
        running = dump("--count", "2", "--json")
        assert tunlab("inject", ECHO.hex()).status == 0
        first, second = map(json.loads, running.end().out.splitlines())
        assert (first["direction"], bytes.fromhex(first["octets"])) == ("in", ECHO)
        assert (second["direction"], second["icmp"]["type"], second["ipv4"]["dst"]) == ("out", 0, PEER)

    def test_beside_a_program_that_is_attached(self, start, lab):
        with lab.netns() as netns, TunDevice.attach(netns, "tun0") as device:
            running = start("dump", "lab", "--count", "2", "--json")
            said = running.wait_for("listening")
            assert said == "listening on tun0 in lab lab, which another program has open\n"
            device.write(ECHO)
            assert device.wait(30)
            assert parse(device.read()).icmp.type == 0
            first, second = map(json.loads, running.end().out.splitlines())
        assert (first["direction"], bytes.fromhex(first["octets"])) == ("in", ECHO)
        assert (second["direction"], second["icmp"]["type"]) == ("out", 0)

    def test_a_second_reader_watches_beside_the_first(self, dump, start, speak):
        first = dump("--count", "1", "--json")
        second = start("dump", "--count", "1", "--json")
        second.wait_for("another program has open")
        speak(ECHO)
        seen = [json.loads(running.end().out)["octets"] for running in (first, second)]
        assert seen == [ECHO.hex()] * 2

    def test_a_ping_that_the_reader_sees(self, dump, tunlab):
        running = dump("--count", "1", "--oneline")
        assert tunlab("ping", PEER, "--timeout", "0.05").status == 1
        assert f"{OWN} > {PEER}: ICMP echo request" in running.end().out


class TestRecording:
    def test_another_program_reads_what_was_recorded(self, dump, speak, need, tmp_path):
        file = tmp_path / "dump.pcapng"
        running = dump("--count", "2", "--write", str(file))
        speak(ICMP_, UDP_, TCP_)
        assert running.end().status == 0
        fields = ["-T", "fields", "-e", "ip.src", "-e", "ip.dst", "-e", "ip.proto", "-e", "frame.interface_name"]
        seen = subprocess.run([need("tshark"), "-r", file, *fields], capture_output=True, text=True, check=True)
        assert seen.stdout.splitlines() == [f"{PEER}\t{OWN}\t1\ttun0", f"{OWN}\t192.0.2.7\t6\ttun0"]
        assert [(each.octets, each.direction) for each in read_pcapng(file)] == [(ICMP_, "out"), (TCP_, "out")]

    @pytest.mark.usefixtures("lab")
    def test_a_file_that_cannot_be_written(self, tunlab, tmp_path):
        said = tunlab("dump", "--write", str(tmp_path / "no" / "dump.pcapng"))
        assert (said.status, said.out) == (71, "")
        assert said.err.startswith(f"tunlab: open {tmp_path}/no/dump.pcapng")
        assert "No such file or directory" in said.err


class TestItsEnd:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_ctrl_c_is_the_normal_end(self, dump, speak, number, run_directory):
        running = dump("--oneline")
        assert (run_directory / "lab" / "tun0.door").stat().st_mode & 0o777 == 0o600
        speak(ECHO)
        running.process.stdout.readline()
        assert running.end(number) == (0, "", "1 packet shown\n")
        assert not (run_directory / "lab" / "tun0.door").exists()

    def test_head_has_seen_enough(self, dump, speak):
        reading, writing = os.pipe()
        running = dump("--oneline", stdout=writing)
        os.close(writing)
        with os.fdopen(reading) as pipe:
            speak(ECHO)
            assert "echo request" in pipe.readline()
        running.process.wait(60)
        assert (running.process.returncode, running.process.stderr.read()) == (0, "")

    @pytest.mark.usefixtures("lab")
    def test_a_timeout(self, tunlab):
        assert tunlab("dump", "--timeout", "0.01").status == 0
        said = tunlab("dump", "--timeout", "0.01", "--count", "1")
        assert (said.status, said.out) == (1, "")
        assert said.err.endswith("0 packets shown\ntunlab: 0.01 s passed before 1 packets were shown.\n")

    def test_after_sigkill_the_next_one_is_attached(self, dump, start, tunlab, run_directory):
        dump().end(signal.SIGKILL)
        assert (run_directory / "lab" / "tun0.door").exists()
        assert tunlab("inject", ECHO.hex()).status == 0
        running = start("dump", "lab", "--count", "2", "--oneline")
        assert running.wait_for("listening") == "listening on tun0 in lab lab\n"
        assert tunlab("inject", ECHO.hex()).status == 0
        assert len(running.end().out.splitlines()) == 2


@pytest.mark.usefixtures("lab")
class TestCommand:
    """`tunlab dump lab -- COMMAND`."""

    def test_command_packets_are_all_shown_before_it_ends(self, command, need):
        result = command("dump", "lab", "--oneline", "--", need("ping"), "-c", "3", "-i", "0.01", "-W", "0.1", PEER)
        assert result.status == 1  # of ping: nobody answers
        assert [line.rsplit(", ", 1)[0][-5:] for line in result.out.splitlines() if "echo request" in line] == [
            "seq 1", "seq 2", "seq 3",
        ]  # fmt: skip
        assert "3 packets transmitted, 0 received" in result.out
        assert result.err == "listening on tun0 in lab lab\n3 packets shown\n"

    def test_command_exit_code_is_dumps(self, command, need):
        assert command("dump", "lab", "--", need("sh"), "-c", "exit 42").status == 42
        assert command("dump", "lab", "--", need("sh"), "-c", "kill -KILL $$").status == 128 + signal.SIGKILL

    def test_command_runs_in_the_node(self, command, need):
        namespace = Lab("lab").state.namespace[1]
        assert command("dump", "--", need("readlink"), "/proc/self/ns/net").out == f"net:[{namespace}]\n"

    def test_command_options_are_not_dumps(self, command, need):
        result = command("dump", "--timeout", "30", "--", need("echo"), "--count", "x", "--", "-v")
        assert (result.status, result.out) == (0, "--count x -- -v\n")

    def test_count_reached_waits_for_command(self, command, need):
        result = command("dump", "lab", "--count", "1", "--oneline", "--", need("ping"), "-c", "2", "-W", "0.1", PEER)
        assert result.out.count("echo request") == 1
        assert "2 packets transmitted" in result.out

    def test_command_ends_before_count_exits_1(self, command, need):
        result = command("dump", "lab", "--count", "1", "--", need("true"))
        assert (result.status, result.out) == (1, "")
        assert result.err.endswith("0 packets shown\ntunlab: the command ended before 1 packets were shown.\n")

    def test_timeout_terminates_command(self, command, need):
        assert command("dump", "lab", "--timeout", "0.1", "--", need("sleep"), "600").status == 0

    def test_signal_is_forwarded_to_command(self, dump, need):
        running = dump(
            "--", need("sh"), "-c", 'trap "exit 7" TERM; echo ready; while :; do read line <>/dev/ptmx; done'
        )
        assert running.process.stdout.readline() == "ready\n"
        assert running.end(signal.SIGTERM).status == 7

    def test_output_closed_terminates_command(self, dump, need):
        reading, writing = os.pipe()
        running = dump("--oneline", "--", need("sleep"), "600", stdout=writing)
        os.close(writing)
        os.close(reading)
        assert running.process.wait(60) == 0

    def test_command_not_found_exits_127(self, command):
        result = command("dump", "lab", "--", "no-such-program")
        assert result.status == 127
        assert "there is no program 'no-such-program' on this machine" in result.err

    def test_no_command_after_separator_exits_2(self, tunlab):
        result = tunlab("dump", "lab", "--")
        assert (result.status, result.out) == (2, "")
        assert "No command after --. Write tunlab dump LAB -- COMMAND." in result.err


class TestBadInput:
    @pytest.mark.parametrize(
        ("options", "sentence"),
        [
            (
                ("--protocol", "x"),
                (
                    "Error: Invalid value for '--protocol': 'x' is no protocol: give icmp, igmp, tcp, udp or a number"
                    " from 0 to 255"
                ),
            ),
            (("--protocol", "256"), "Error: Invalid value for '--protocol': '256' is no protocol: give icmp,"),
            (
                ("--address", "10.1.2"),
                (
                    "Error: Invalid value for '--address': '10.1.2' is no IPv4 address or network: give one like"
                    " 10.1.2.3 or 10.1.2.0/24"
                ),
            ),
            (
                ("--src", "10.1.2.3/24"),
                (
                    "Error: Invalid value for '--src': '10.1.2.3/24' is an address inside a network: did you mean"
                    " 10.1.2.0/24?"
                ),
            ),
            (("--port", "65536"), "Error: Invalid value for '--port': 65536 is not in the range 0<=x<=65535."),
            (("--count", "0"), "Error: Invalid value for '-c' / '--count': 0 is not in the range x>=1."),
            (("--cuont", "1"), "Error: No such option '--cuont'."),
        ],
    )
    def test_an_option_that_cannot_be(self, tunlab, options, sentence):
        said = tunlab("dump", *options)
        assert (said.status, said.out) == (2, "")
        assert sentence in said.err

    def test_two_forms_at_once(self, tunlab):
        for options in (("--json", "--oneline"), ("--oneline", "--json")):
            said = tunlab("dump", *options)
            assert (said.status, said.out) == (2, "")
            assert "--json and --oneline exclude each other. Give one of them." in said.err

    def test_no_lab(self, tunlab):
        assert tunlab("dump") == (73, "", "tunlab: no lab is up; tunlab up makes one\n")

    def test_of_several_labs_one_is_to_be_named(self, tunlab):
        tunlab("up", "--name", "a")
        tunlab("up", "--name", "b")
        assert tunlab("dump") == (73, "", "tunlab: 2 labs are up: a, b; name one of them, as tunlab dump a\n")
