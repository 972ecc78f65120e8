"""Example tests that pytest runs in a subprocess, and checks of its output."""

import re

ALL_FIXTURES = """
    import pytest
    from tunlab.packet import ICMP, IPv4, reply

    @pytest.mark.parametrize("number", range(6))
    def test_exchange(tun, number):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, number), b"payload")
        assert tun.expect(ICMP.where(type=0)).icmp.sequence_number == number

    def test_factories(tun, netns, ping, inject, make_tun, make_netns):
        assert tun.netns is netns
        pending = ping("10.1.2.3", payload=b"x")
        request = tun.expect(ICMP)
        inject(*reply(request), request.payload)
        assert pending.reply().payload == b"x"
        assert make_tun(ifname="tun1").netns is not netns
        assert make_netns().identity != netns.identity
        assert netns.run(["true"]).returncode == 0
"""


def is_one_sentence(result, text):
    """Return True if each error in pytest's output has the text once and no traceback through tunlab."""
    output = result.stdout.str()
    sections = re.split(r"^_+ ERROR at setup of .* _+$", output.split("short test summary")[0], flags=re.MULTILINE)[1:]
    assert sections
    assert [section.count(text) for section in sections] == [1] * len(sections), output
    return not re.search("During handling|Traceback|tunlab/pytest_plugin|tunlab/kernel", output)
