"""The tunlab section in the report of a failed test, in real pytest runs."""

import pytest

PRELUDE = """
    import pytest
    from tunlab.packet import ICMP, TCP, UDP, IPFlag, IPv4, TCPFlag

    def to(tun, **fields):
        return IPv4(**{"src": tun.peer, "dst": tun.address, **fields})
"""

# Each case has a name, the body of a failing test, and lines that the report must contain.
FAILURES = {
    "wrong port": (
        "tun.inject(to(tun), TCP(src_port=4000, dst_port=81, flags=TCPFlag.SYN)); tun.expect(UDP, timeout=0.05)",
        ["*├*▶│*10.1.2.2.4000 > 10.1.2.1.81: Flags [[]S]*", "*sent 1 packet with RST*", "*no socket*(NO_SOCKET*"],
    ),
    "bad checksum": (
        "tun.inject(to(tun, checksum=1), ICMP.echo_request(1, 1)); tun.expect(ICMP, timeout=0.05)",
        ["*packet 1: IPv4 checksum 0x0001 is bad*", "*dropped 1 packet: bad IP header checksum (IpExt.InCsumErrors*"],
    ),
    "no such protocol": (
        "tun.inject(to(tun, protocol=253), b'x'); assert tun.capture(0)",
        ["*unknown protocol; answered with ICMP 3/2*", "*· not read by the test*"],
    ),
    "rp_filter": (
        "tun.netns.set_sysctl('net.ipv4.conf.all.rp_filter', 1); SPOOFED; tun.expect(ICMP, timeout=0.05)",
        ["*refused by rp_filter*", "*net.ipv4.conf.all.rp_filter = 1*"],
    ),
    "to somebody else": (
        "tun.inject(to(tun, dst='192.0.2.1'), ICMP.echo_request(1, 1)); tun.expect(ICMP, timeout=0.05)",
        ["*destination is not local*", "*net.ipv4.ip_forward = 0*"],
    ),
    "a fragment alone": (
        "tun.inject(to(tun, flags=IPFlag.MF, protocol=17), b'x' * 8); tun.expect(UDP, timeout=0.05)",
        ["*until the other fragments arrive (Ip.ReasmReqds)*", "*fragment id*"],
    ),
    "counters": (
        "with tun.expect_counters(Icmp__InEchos=1): tun.inject(to(tun, checksum=1), ICMP.echo_request(1, 1))",
        ["*Icmp.InEchos: wanted 1, got 0*", "*recorded in .tunlab/records/*"],
    ),
    "the device is down": (
        "tun.device.down(); assert False",
        ["no packet crossed any device of this test"],
    ),
    "nothing at all": (
        "assert tun.address == 'x'",
        ["no packet crossed any device of this test", "rerun     pytest *::test_x"],
    ),
}  # fmt: skip


def expand(body):
    return body.replace("SPOOFED", "tun.inject(to(tun, src='203.0.113.9'), ICMP.echo_request(1, 1))")


@pytest.mark.parametrize(("body", "lines"), FAILURES.values(), ids=FAILURES)
def test_section_of_failed_test_names_the_cause_in_at_most_100_columns(pytester, run, body, lines):
    pytester.makepyfile(test_x=PRELUDE + f"\n    def test_x(tun):\n        {expand(body)}\n")
    result = run()
    result.assert_outcomes(failed=1)
    text = result.stdout.str()
    assert text.count("- tunlab -") == 1
    for line in lines:
        result.stdout.fnmatch_lines([line])
    shown = text.split("- tunlab -")[1].split("short test summary")[0].splitlines()[1:-1]
    assert max(map(len, shown)) <= 100


@pytest.mark.parametrize("parallel", [("-n", "2")], ids=["parallel"])
def test_failed_tests_under_xdist_have_sections_with_the_cause(pytester, run, parallel):
    bodies = "".join(
        f"\n    def test_{number}(tun):\n        {expand(body)}\n" for number, (body, _) in enumerate(FAILURES.values())
    )
    pytester.makepyfile(PRELUDE + bodies)
    result = run(*parallel)
    result.assert_outcomes(failed=len(FAILURES))
    for _, lines in FAILURES.values():
        for line in lines:
            result.stdout.fnmatch_lines([line.replace("::test_x", "::test_*")])


def test_failed_test_without_tunlab_has_no_section(pytester, run):
    pytester.makepyfile("def test_x(): assert False\n")
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("*- tunlab -*")


def test_rerun_command_in_section_is_relative_to_the_start_directory(pytester, run, monkeypatch):
    pytester.makeini("[pytest]\n")
    folder = pytester.mkdir("tests")
    (folder / "test_x.py").write_text("def test_y(tun): assert False\n")
    monkeypatch.chdir(folder)
    run().stdout.fnmatch_lines(["rerun     pytest test_x.py::test_y"])


def test_section_for_two_namespaces_has_a_column_and_heading_for_each(pytester, run):
    pytester.makepyfile(
        PRELUDE
        + """
    def test_x(make_tun):
        one, other = make_tun(), make_tun(ifname="tun1")
        one.inject(to(one, checksum=1), ICMP.echo_request(1, 1))
        other.ping(other.peer)
        assert False
    """
    )
    result = run()
    result.stdout.re_match_lines(
        [r" +ms +test +kernel +kernel2", r"  in kernel:", r"    dropped 1 packet", r"  in kernel2:"]
    )


def test_failed_test_without_traceback_has_a_section(pytester, run):
    pytester.makepyfile(
        """
        import pytest
        @pytest.mark.xfail(strict=True)
        def test_x(tun):
            tun.ping(tun.peer)
        def test_y(tun):
            tun.ping(tun.peer)
            pytest.fail("no traceback", pytrace=False)
        """
    )
    result = run("--tunlab-record=always")
    result.assert_outcomes(failed=2)
    assert result.stdout.str().count("- tunlab -") == 2


def test_short_test_summary_starts_with_the_expected_packet(pytester, run, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.delenv("CI", raising=False)  # If CI is set, pytest does not cut lines to the terminal's width.
    pytester.makepyfile(
        test_x=PRELUDE
        + """
    def test_a(tun): tun.expect(TCP.where(src_port=80, flags=TCPFlag.SYN), timeout=0.01)
    def test_b(tun): tun.ping(tun.peer); tun.expect_none(ICMP)
    def test_c(tun):
        with tun.expect_counters(Icmp__InEchos=1): pass
    """
    )
    result = run()
    result.stdout.fnmatch_lines(
        [
            "FAILED test_x.py::test_a - wanted TCP(src_port=80, flags=SYN), waited 0.0*",
            "FAILED test_x.py::test_b - wanted no ICMP(), but 1 arrived:",
            "FAILED test_x.py::test_c - wanted Icmp.InEchos 1, got 0",
        ]
    )
    result.stdout.fnmatch_lines(["E * waited 0.0* s for TCP(src_port=80, flags=SYN)"])


def test_section_in_narrow_terminal_fits_the_terminal(pytester, run, monkeypatch, parallel):
    monkeypatch.setenv("COLUMNS", "72")
    pytester.makepyfile(PRELUDE + "\n    def test_x(tun):\n        tun.ping(tun.peer); tun.expect(TCP, timeout=0.01)\n")
    shown = run(*parallel).stdout.str().split("- tunlab -")[1].split("\nrecorded ")[0].splitlines()[1:]
    assert 60 < max(map(len, shown)) <= 72


@pytest.mark.parametrize(
    "body",
    [
        "tun.expect(ICMP.where(sequence_number=2), timeout=0.01)",
        "tun.expect_none(ICMP)",
        "tun.expect(ICMP); tun.expect(ICMP, timeout=0.01)",
        "other.expect(ICMP, timeout=0.01)",
    ],
    ids=["no packet matches", "no packet expected", "packet already consumed", "packet in another namespace"],
)
def test_section_without_match_on_other_device_has_no_remark(pytester, run, body):
    pytester.makepyfile(
        PRELUDE
        + f"""
    def test_x(tun, make_tun):
        other = make_tun(ifname="tun1")
        tun.inject(to(tun), ICMP.echo_request(1, 1))
        {body}
    """
    )
    result = run()
    result.assert_outcomes(failed=1)
    result.stdout.no_fnmatch_line("packet * matches, but*")


def test_section_in_ascii_terminal_has_ascii_arrows(pytester, run, monkeypatch, parallel):
    for name, value in {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}.items():
        monkeypatch.setenv(name, value)
    pytester.makepyfile(PRELUDE + "\n    def test_x(tun):\n        tun.ping(tun.peer); assert False\n")
    result = run(*parallel)
    result.assert_outcomes(failed=1)
    result.stdout.re_match_lines([r" +1 +0\.000  \|<-+\|  IP 10\.1\.2\.1 > ", r" +\| +\|  \* not read by the test"])
    assert "\\u" not in result.stdout.str()
    result.stdout.no_fnmatch_line("*\\\\n*")
