"""Options of IPv6's hop-by-hop and destination options headers."""

import pytest

from tunlab.errors import MalformedError
from tunlab.packet import UDP, DestinationOptions, HopByHop, IPv6, Packet, build, findings, ipv6_options, listing, parse

IP = IPv6(src="fd00::1", dst="fd00::2")
OPTIONS = {
    "Pad1": (ipv6_options.IPv6Option(0), "00"),
    "PadN": (ipv6_options.PadN(bytes(3)), "0103000000"),
    "router alert": (ipv6_options.RouterAlert(2), "05020002"),
    "jumbo payload": (ipv6_options.JumboPayload(65536), "c20400010000"),
    "unknown": (ipv6_options.IPv6Option(0x1E, b"ab"), "1e026162"),
}


@pytest.mark.parametrize(("option", "raw"), OPTIONS.values(), ids=OPTIONS)
def test_ipv6_option_has_the_bytes_of_the_rfc(option, raw):
    assert bytes(option) == bytes.fromhex(raw)
    decoded = HopByHop(options=[option]).decoded_options
    assert decoded == (option,)
    assert type(decoded[0]) is type(option)


def test_options_header_is_padded_with_a_padn_option():
    data = build(IP, DestinationOptions(options=[ipv6_options.RouterAlert()]), UDP(1, 2))
    header = parse(data)[DestinationOptions]
    assert header.decoded_options == (ipv6_options.RouterAlert(), ipv6_options.PadN())
    assert (header.length, header.has_option(ipv6_options.RouterAlert)) == (0, True)
    assert not header.has_option(ipv6_options.JumboPayload)
    assert findings(data) == []


def test_verbose_listing_shows_ipv6_options():
    header = HopByHop(options=[ipv6_options.RouterAlert(1), ipv6_options.IPv6Option(0x1E, b"ab")])
    lines = listing(Packet.of(IP, header), verbose=True).splitlines()
    assert lines[-3:] == [
        "  Option: RouterAlert value 1",
        "  Option: kind 30 61 62",
        "  Option: PadN padding 00000000",
    ]


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        (
            ipv6_options.RouterAlert(1 << 16),
            "RouterAlert is RouterAlert(value=65536): RouterAlert has",
        ),
        (
            ipv6_options.JumboPayload(-1),
            "JumboPayload is JumboPayload(length=-1): JumboPayload has",
        ),
        (ipv6_options.IPv6Option(5, bytes(256)), "IPv6Option is IPv6Option("),
    ],
)
def test_error_for_oversized_value_names_the_field(option, sentence):
    with pytest.raises(MalformedError) as error_info:
        bytes(option)
    assert str(error_info.value).startswith(sentence)
