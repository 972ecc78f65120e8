"""`tunlab ping`: echo requests from a lab's kernel, with and without a reply."""

import json
import signal

import pytest

from tunlab.packet import build, parse, reply

PEER, OWN = "10.1.2.3", "10.1.2.1"
HINT = "Give two hexadecimal digits per byte, for example 45 00 00 1c."


@pytest.mark.usefixtures("router")
def test_ping_with_lab_option_sends_from_the_given_node(tunlab):
    assert tunlab("ping", "--lab", "router/client", "10.0.2.2").status == 0
    result = tunlab("ping", "--lab", "client", "--timeout", "0.1", "10.0.2.99")
    assert result.status == 1
    assert "`tunlab dump router/client` shows the requests." in result.err


@pytest.mark.usefixtures("lab")
def test_ping_to_own_address_of_the_lab_is_answered(tunlab):
    result = tunlab("ping", OWN, "--count", "2", "--lab", "lab")
    assert result.status == 0
    lines = result.out.splitlines()
    assert [line.rpartition(" time=")[0] for line in lines] == [
        f"64 bytes from {OWN}: icmp_seq={number}" for number in (1, 2)
    ]


def test_ping_answered_by_the_program_on_the_tun_exits_0(start, foreign_reader):
    running = start("ping", PEER, "--payload", "dead beef", "--json", "--timeout", "30")
    assert foreign_reader.wait(30)
    request = parse(foreign_reader.read())
    assert request.payload == b"\xde\xad\xbe\xef"
    foreign_reader.write(build(*reply(request), request.payload))
    result = running.end()
    seen = json.loads(result.out)
    assert result.status == 0
    assert (seen["address"], seen["sequence_number"], seen["answered"], seen["bytes"]) == (PEER, 1, True, 12)
    assert seen["milliseconds"] > 0


def test_ping_of_an_ipv6_address_prints_the_reply(tunlab):
    assert tunlab("up", "--address", "fd00::1/64").status == 0
    result = tunlab("ping", "fd00::1")
    assert (result.status, result.out.rpartition(" time=")[0]) == (0, "64 bytes from fd00::1: icmp_seq=1")


@pytest.mark.usefixtures("lab")
def test_ping_with_no_program_on_the_tun_exits_1(tunlab):
    result = tunlab("ping", PEER, "--timeout", "0.02", "--count", "2")
    assert (result.status, result.out.count("no reply from 10.1.2.3 within 0.02 s: icmp_seq=")) == (1, 2)
    assert result.err == (
        "tunlab: 0 of 2 echo requests were answered."
        " Start the program that should answer, because none has tun0 open.\n"
    )


@pytest.mark.usefixtures("foreign_reader")
def test_ping_without_reply_from_the_program_on_the_tun_exits_1(tunlab):
    result = tunlab("ping", PEER, "--timeout", "0.02", "--json")
    assert (result.status, json.loads(result.out)["answered"]) == (1, False)
    assert result.err == "tunlab: 0 of 1 echo requests were answered. `tunlab dump lab` shows the requests.\n"


@pytest.mark.usefixtures("lab")
def test_ping_without_route_exits_71(tunlab):
    result = tunlab("ping", "192.0.2.1")
    assert (result.status, result.out) == (71, "")
    assert result.err.startswith(
        "tunlab: ping 192.0.2.1: there is no route to the destination (ENETUNREACH). Give an address in"
    )


@pytest.mark.parametrize("address", ["10.1.2", "10.1.2.300", "localhost", "fd00::g"])
def test_ping_to_invalid_address_exits_2(tunlab, address):
    result = tunlab("ping", address)
    assert result.status == 2
    assert f"{address!r} is not an IP address. Give one like 10.1.2.2 or fd00::2." in result.err


@pytest.mark.usefixtures("lab")
def test_ping_with_an_odd_number_of_payload_digits_exits_65(tunlab):
    assert tunlab("ping", OWN, "--payload", "abc") == (
        65,
        "",
        f"tunlab: --payload has an odd number of hexadecimal digits, 3. {HINT}\n",
    )


def test_ping_ended_by_ctrl_c_exits_130(start, foreign_reader):

    running = start("ping", PEER, "--timeout", "60")
    assert foreign_reader.wait(30)
    assert running.end(signal.SIGINT) == (130, "", "")
