"""`tunlab inject` and `ping`: into a lab, whoever is attached to its TUN."""

import io
import json
import subprocess
import sys

import pytest

from tunlab.cli.inject import _datagrams
from tunlab.errors import TruncatedRecordingError
from tunlab.kernel.tun import TunDevice
from tunlab.packet import ICMP, TCP, IPv4, TCPFlag, build, parse, reply
from tunlab.recorder import LINKTYPE_ETHERNET, PcapngWriter

PEER, OWN = "10.1.2.3", "10.1.2.1"
ECHO = build(IPv4(src=PEER, dst=OWN), ICMP.echo_request(7, 1), b"ping")
ANSWER = "answered: IP 10.1.2.1 > 10.1.2.3: ICMP echo reply, id 7, seq 1, length 12\n"
SAID = "injected: IP 10.1.2.3 > 10.1.2.1: ICMP echo request, id 7, seq 1, length 12\n"


@pytest.fixture
def attached(lab):
    """A program of the user's that is attached to the lab's TUN."""
    with lab.netns() as netns, TunDevice.attach(netns, "tun0") as device:
        yield device


class TestSources:
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
    def test_hexadecimal(self, tunlab, text):
        assert tunlab("inject", text) == (0, SAID + ANSWER, "")

    @pytest.mark.usefixtures("lab")
    def test_lines_of_standard_input(self, command):
        said = command("inject", "-", stdin=None, input=f"{ECHO.hex()}\n\n{ECHO.hex(' ')}\n")
        assert said == (0, SAID * 2 + ANSWER * 2, "")

    @pytest.mark.usefixtures("lab")
    def test_a_recording(self, tunlab, tmp_path):
        file = tmp_path / "x.pcapng"
        with PcapngWriter.create(file) as writer:
            raw = writer.add_interface("tun0")
            ethernet = writer.add_interface("eth0", linktype=LINKTYPE_ETHERNET)
            writer.write(raw, ECHO, time_ns=0)
            writer.write(ethernet, bytes(12) + b"\x08\x00" + ECHO, time_ns=0)
            writer.write(ethernet, bytes(12) + b"\x08\x06" + bytes(28), time_ns=0)
        said = tunlab("inject", str(file))
        assert said == (
            0,
            SAID * 2 + ANSWER * 2,
            f"1 of 3 packets of {file} holds no IPv4 datagram (link type 1): passed over\n",
        )
        assert file.read_bytes()

    @pytest.mark.usefixtures("lab")
    def test_what_stands_before_a_cut_goes_in_and_then_it_is_an_error(self, tunlab, tmp_path):
        file = tmp_path / "x.pcapng"
        with PcapngWriter.create(file) as writer:
            raw = writer.add_interface("tun0")
            writer.write(raw, ECHO, time_ns=0)
            writer.write(raw, ECHO, time_ns=0)
        file.write_bytes(file.read_bytes()[:-5])
        said = tunlab("inject", str(file))
        assert (said.status, said.out) == (65, SAID + ANSWER)
        assert said.err.startswith(f"tunlab: {file}: the pcapng file ends inside the block at offset ")
        assert said.err.count("\n") == 1

    def test_the_error_behind_a_cut_keeps_its_kind_and_its_data(self, tmp_path):
        file = tmp_path / "x.pcapng"
        with PcapngWriter.create(file) as writer:
            writer.write(writer.add_interface("tun0"), ECHO, time_ns=0)
        whole = file.stat().st_size
        file.write_bytes(file.read_bytes() + b"\6\0\0\0")
        datagrams, fault = _datagrams(str(file))
        assert datagrams == [ECHO]
        assert isinstance(fault, TruncatedRecordingError)
        assert (fault.file, fault.layer, fault.offset, fault.present) == (str(file), "pcapng", whole, 4)

    @pytest.mark.usefixtures("lab")
    def test_what_is_passed_over_is_one_line(self, tunlab, tmp_path):
        file = tmp_path / "x.pcapng"
        with PcapngWriter.create(file) as writer:
            wireless, ethernet = (writer.add_interface("x", linktype=linktype) for linktype in (105, LINKTYPE_ETHERNET))
            for interface in (wireless, ethernet) * 100:
                writer.write(interface, bytes(40), time_ns=0)
            writer.write(ethernet, bytes(12) + b"\x08\x00" + ECHO, time_ns=0)
        said = tunlab("inject", str(file))
        assert said == (
            0,
            SAID + ANSWER,
            f"200 of 201 packets of {file} hold no IPv4 datagram (link type 1, 105): passed over\n",
        )

    @pytest.mark.usefixtures("lab")
    def test_a_recording_from_standard_input(self, environment):
        recording = io.BytesIO()
        writer = PcapngWriter(recording)
        writer.write(writer.add_interface("tun0"), ECHO, time_ns=0)
        done = subprocess.run(
            [sys.executable, "-m", "tunlab", "inject", "-"],
            input=recording.getvalue(), env=environment, capture_output=True, check=True,
        )  # fmt: skip
        assert done.stdout.decode() == SAID + ANSWER

    @pytest.mark.usefixtures("lab")
    def test_what_dump_has_seen(self, command, dump, tunlab):
        running = dump("--json", "--count", "1")
        tunlab("inject", ECHO.hex())
        octets = json.loads(running.end().out)["octets"]
        assert command("inject", "-", stdin=None, input=octets).out == SAID + ANSWER


class TestWhoIsAttached:
    @pytest.mark.usefixtures("lab")
    def test_nobody_the_answer_is_shown(self, tunlab):
        syn = build(IPv4(src=PEER, dst=OWN), TCP(src_port=9, dst_port=9, flags=TCPFlag.SYN))
        said = tunlab("inject", syn.hex())
        assert "answered: IP 10.1.2.1.9 > 10.1.2.3.9: Flags [R.]" in said.out

    def test_a_dump_the_answer_is_its(self, tunlab, dump):
        dump()
        assert tunlab("inject", ECHO.hex()) == (0, SAID, "")

    @pytest.mark.usefixtures("attached")
    def test_a_foreign_program(self, tunlab):
        said = tunlab("inject", ECHO.hex())
        assert said == (
            73,
            "",
            (
                "tunlab: another program is attached to tun0 in lab 'lab', and writes for nobody else; end it, or put"
                " the octets before it, as if the kernel had sent them: tunlab inject --to-reader\n"
            ),
        )

    def test_to_the_reader_goes_anything(self, tunlab, attached):
        for octets in (ECHO, b"\x05", bytes(7)):
            assert tunlab("inject", "--to-reader", octets.hex()).status == 0
            assert attached.read() == octets

    @pytest.mark.usefixtures("lab")
    def test_to_the_reader_if_there_is_none(self, tunlab):
        said = tunlab("inject", "--to-reader", ECHO.hex())
        assert (said.status, said.err) == (
            73,
            "tunlab: nobody reads tun0 in lab 'lab'; start your program, or tunlab dump lab\n",
        )

    @pytest.mark.usefixtures("lab")
    def test_a_malformed_datagram_goes_in_with_a_note(self, tunlab):
        said = tunlab("inject", build(IPv4(src=PEER, dst=OWN, checksum=1), ICMP.echo_request(7, 1)).hex())
        assert said.status == 0
        assert "[bad IPv4 checksum 0x0001, should be 0x" in said.out
        assert "answered" not in said.out

    def test_through_a_dump_the_kernels_refusal_comes_back(self, dump, tunlab, lab):
        dump()
        with lab.netns() as netns:
            from tunlab.kernel.rtnl import Rtnl

            with Rtnl(netns) as rtnl:
                rtnl.set_link(rtnl.link_index("tun0"), up=False)
        said = tunlab("inject", ECHO.hex())
        assert (said.status, said.err) == (71, "tunlab: inject into tun0: Input/output error (EIO)\n")


HINT = "give two hexadecimal digits for each octet, as 45 00 00 1c"
NOTHING = "give a datagram in hexadecimal, a pcapng file, or - for lines"


class TestBadInput:
    @pytest.mark.parametrize(
        ("source", "sentence"),
        [
            ("450", f"'450' has an odd number of hexadecimal digits, 3; {HINT}"),
            ("45 0", f"'45 0' has an odd number of hexadecimal digits, 3; {HINT}"),
            ("zz", f"'zz' is not hexadecimal: 'z' is no digit; {HINT}"),
            ("", f"there is no octet in ''; {NOTHING}"),
            ("  ", f"there is no octet in '  '; {NOTHING}"),
            (
                "45 00",
                (
                    "that is no IPv4 datagram: IPv4 header needs 20 bytes, got 2 (input ended at offset 2)"
                    "; --as-is injects it all the same"
                ),
            ),
            ("45" * 65_536, "IP.length is 65536: a datagram has 65535 octets at most (RFC 791 section 3.1)"),
        ],
        ids=["odd", "odd-spaced", "not-hex", "empty", "blank", "no-packet", "too-long"],
    )
    @pytest.mark.usefixtures("lab")
    def test_octets_that_are_no_packet(self, tunlab, source, sentence):
        assert tunlab("inject", source) == (65, "", f"tunlab: {sentence}\n")

    @pytest.mark.usefixtures("lab")
    def test_octets_that_are_no_packet_are_injected_if_that_is_meant(self, tunlab):
        said = tunlab("inject", "--as-is", "45 00")
        assert (said.status, said.err) == (0, "")
        assert said.out.startswith("injected: 2 octets, no IPv4 datagram: ")
        said = tunlab("inject", "--as-is", "05 00")
        sentence = (
            "tunlab: IP.version at offset 0 is 0: the kernel takes only 4 and 6 from a TUN; tunlab inject --to-reader"
            " puts any octets before the TUN's reader\n"
        )
        assert said == (65, "", sentence)

    @pytest.mark.usefixtures("lab")
    def test_of_several_none_is_injected(self, command):
        said = command("inject", "-", stdin=None, input=f"{ECHO.hex()}\n4500\n")
        assert (said.status, said.out) == (65, "")
        assert said.err.startswith("tunlab: datagram 2 of 2 is no IPv4 datagram: ")

    @pytest.mark.usefixtures("lab")
    def test_a_line_of_standard_input_is_named(self, command):
        said = command("inject", "-", stdin=None, input=f"{ECHO.hex()}\n4\n")
        assert said == (65, "", f"tunlab: line 2 has an odd number of hexadecimal digits, 1; {HINT}\n")
        assert command("inject", "-").err == f"tunlab: there is no octet in standard input; {NOTHING}\n"

    @pytest.mark.parametrize(
        ("octets", "sentence"),
        [
            (b"", "the recording is empty"),
            (b"GIF89a, no recording", "recording.magic at offset 0 is b'GIF8': no pcapng or pcap file begins so"),
            (bytes.fromhex("0a0d0d0a1c0000004d3c2b1a"), "the pcapng file ends inside"),
        ],
        ids=["empty", "foreign", "cut"],
    )
    @pytest.mark.usefixtures("lab")
    def test_an_unreadable_recording(self, tunlab, tmp_path, octets, sentence):
        file = tmp_path / "x.pcapng"
        file.write_bytes(octets)
        said = tunlab("inject", str(file))
        assert (said.status, said.out) == (65, "")
        assert said.err.startswith(f"tunlab: {file}: {sentence}")
        assert said.err.count("\n") == 1

    @pytest.mark.parametrize("count", [0, 3])
    @pytest.mark.usefixtures("lab")
    def test_a_recording_without_ipv4(self, tunlab, tmp_path, count):
        file = tmp_path / "x.pcapng"
        with PcapngWriter.create(file) as writer:
            wireless = writer.add_interface("wlan0", linktype=105)
            for _ in range(count):
                writer.write(wireless, bytes(40), time_ns=0)
        why = {
            0: f"there is no packet in {file}",
            3: f"none of the 3 packets of {file} holds an IPv4 datagram (link type 105)",
        }
        assert tunlab("inject", str(file)) == (65, "", f"tunlab: {why[count]}; give a recording of IPv4\n")

    @pytest.mark.parametrize("arguments", [("inject", ECHO.hex()), ("ping", OWN)])
    def test_of_several_labs_one_is_to_be_named(self, tunlab, arguments):
        tunlab("up", "--name", "a")
        tunlab("up", "--name", "b")
        said = tunlab(*arguments)
        assert said == (73, "", "tunlab: 2 labs are up: a, b; name one of them, as --lab a\n")
        assert tunlab(*arguments, "--lab", "a").status == 0

    @pytest.mark.usefixtures("lab")
    def test_a_packet_that_was_cut_when_it_was_recorded(self, tunlab, tmp_path):
        file = tmp_path / "x.pcapng"
        with PcapngWriter.create(file) as writer:
            writer.write(writer.add_interface("tun0", snaplen=24), ECHO, time_ns=0)
        said = tunlab("inject", str(file))
        assert (said.status, said.out) == (65, "")
        assert f"packet 1 of {file} was cut when it was recorded: it had 32 octets, and 24 were kept" in said.err

    @pytest.mark.usefixtures("lab")
    def test_a_file_that_does_not_exist(self, tunlab, tmp_path):
        said = tunlab("inject", str(tmp_path / "no.pcapng"))
        assert (said.status, said.out) == (71, "")
        assert said.err.startswith(f"tunlab: open {tmp_path}/no.pcapng: No such file or directory (ENOENT)")


class TestPing:
    @pytest.mark.usefixtures("lab")
    def test_its_own_address_answers(self, tunlab):
        said = tunlab("ping", OWN, "--count", "2", "--lab", "lab")
        assert said.status == 0
        lines = said.out.splitlines()
        assert [line.rsplit(",", 1)[0] for line in lines] == [
            f"64 octets from {OWN}: sequence number {number}" for number in (1, 2)
        ]

    def test_a_program_at_the_tun_answers(self, start, attached):
        running = start("ping", PEER, "--payload", "dead beef", "--json", "--timeout", "30")
        assert attached.wait(30)
        request = parse(attached.read())
        assert request.payload == b"\xde\xad\xbe\xef"
        attached.write(build(*reply(request), request.payload))
        said = running.end()
        seen = json.loads(said.out)
        assert said.status == 0
        assert (seen["address"], seen["sequence_number"], seen["answered"], seen["octets"]) == (PEER, 1, True, 12)
        assert seen["milliseconds"] > 0

    @pytest.mark.usefixtures("lab")
    def test_nobody_is_attached(self, tunlab):
        said = tunlab("ping", PEER, "--timeout", "0.02", "--count", "2")
        assert (said.status, said.out.count("no reply from 10.1.2.3 to sequence number")) == (1, 2)
        assert said.err == (
            "tunlab: 0 of 2 echo requests were answered; nobody is attached to tun0: start what should answer\n"
        )

    @pytest.mark.usefixtures("attached")
    def test_who_is_attached_does_not_answer(self, tunlab):
        said = tunlab("ping", PEER, "--timeout", "0.02", "--json")
        assert (said.status, json.loads(said.out)["answered"]) == (1, False)
        assert said.err == "tunlab: 0 of 1 echo requests were answered; tunlab dump lab shows the requests\n"

    @pytest.mark.usefixtures("lab")
    def test_no_route(self, tunlab):
        said = tunlab("ping", "192.0.2.1")
        assert (said.status, said.out) == (71, "")
        assert said.err.startswith("tunlab: ping 192.0.2.1: no route leads there (ENETUNREACH); give an address of")

    @pytest.mark.parametrize("address", ["10.1.2", "10.1.2.300", "localhost", "::1"])
    def test_an_address_that_is_none(self, tunlab, address):
        said = tunlab("ping", address)
        assert said.status == 2
        assert f"{address!r} is no IPv4 address: give one like 10.1.2.2" in said.err

    @pytest.mark.usefixtures("lab")
    def test_an_odd_payload(self, tunlab):
        assert tunlab("ping", OWN, "--payload", "abc") == (
            65,
            "",
            f"tunlab: --payload has an odd number of hexadecimal digits, 3; {HINT}\n",
        )

    def test_ctrl_c(self, start, attached):
        import signal

        running = start("ping", PEER, "--timeout", "60")
        assert attached.wait(30)
        assert running.end(signal.SIGINT) == (130, "", "")
