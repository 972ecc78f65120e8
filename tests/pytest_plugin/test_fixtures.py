"""The fixtures `tun`, `netns`, `ping` and `inject`, their settings and their help, in real pytest runs."""

from pathlib import Path

import pytest

from tests.pytest_plugin.example_tests import ALL_FIXTURES, is_one_sentence


class TestFixtures:
    @pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
    def test_tunlab_fixtures_work_serially_and_under_xdist(self, pytester, run, parallel):
        pytester.makepyfile(ALL_FIXTURES)
        run(*parallel).assert_outcomes(passed=7)

    def test_programs_and_sockets_in_namespace_end_with_the_test(self, pytester, run):
        pytester.makepyfile(
            test_x="""
            def test_programs_and_sockets(tun, netns):
                tun.popen(["sleep", "1000"])
                netns.popen(["sleep", "1000"])
                tun.listen(80)

            def test_failing(tun):
                tun.popen(["sleep", "1000"])
                assert False

            def test_no_program_is_left(tun):
                from pathlib import Path
                children = " ".join(file.read_text() for file in Path("/proc/self/task").glob("*/children")).split()
                names = [Path("/proc", child, "comm").read_text().strip() for child in children]
                assert "sleep" not in names
            """
        )
        result = run("-W", "error")
        result.assert_outcomes(passed=2, failed=1)

    def test_device_options_of_make_tun_are_applied_to_the_device(self, pytester, run):
        pytester.makepyfile(
            """
            import pytest
            from tunlab.kernel.device.tun import TunDevice
            from tunlab.packet import ICMP, IPv4

            def echo(tun):
                tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"payload")
                tun.fence()
                assert tun.expect(ICMP.where(type=0)).payload == b"payload"

            def test_packet_information(make_tun):
                tun = make_tun(packet_information=True)
                echo(tun)
                tun.ping(tun.peer, payload=b"x" * 8)
                assert tun.device.read().startswith(b"\\0\\0\\x08\\0\\x45")

            def test_multi_queue(make_tun):
                tun = make_tun(multi_queue=True)
                echo(tun)
                tun.device.add_queue().close()

            def test_owner_and_group(make_tun):
                tun = make_tun(owner=65534, group=65534)
                echo(tun)
                status = tun.run(["ip", "-d", "link", "show", "tun0"], capture_output=True, text=True).stdout
                assert " user " in status and " group " in status

            def test_tap(make_tun):
                tap = make_tun("fd00::1/64", mode="tap", address_resolution=False)
                assert (type(tap).__name__, tap.ifname, tap.address) == ("Tap", "tap0", "fd00::1")
            """
        )
        run().assert_outcomes(passed=4)

    def test_tap_fixture_shares_settings_and_namespace(self, pytester, run):
        pytester.makeini("[pytest]\ntunlab_address = 10.1.2.1/24 fd00::1/64\ntunlab_strict = true\n")
        pytester.makepyfile(
            """
            import pytest
            from tunlab.packet import ICMP, ICMPv6, IPv4, IPv6

            def test_both_families(tap, netns):
                assert (tap.ifname, tap.netns, tap.address, tap.address6) == ("tap0", netns, "10.1.2.1", "fd00::1")
                tap.inject(IPv4(src=tap.peer, dst=tap.address), ICMP.echo_request(1, 1))
                tap.inject(IPv6(src=tap.peer6, dst=tap.address6), ICMPv6.echo_request(1, 1))
                tap.expect(ICMP)
                tap.expect(ICMPv6)

            @pytest.mark.tun(address="fd00::9/64", ifname="wire", strict=False)
            def test_marker(tap):
                assert (tap.ifname, tap.address) == ("wire", "fd00::9")

            def test_unexpected_frame(tap):
                tap.inject(IPv6(src=tap.peer6, dst=tap.address6), ICMPv6.echo_request(1, 1))
            """
        )
        result = run()
        result.assert_outcomes(passed=2, failed=1)
        result.stdout.fnmatch_lines(["*strict: the test did not expect, capture or read 1 packet from tap0*"])
        result.stdout.fnmatch_lines(["*IP6 fd00::1 > fd00::2: ICMPv6 echo reply*<-- never read*"])
        result.stdout.no_fnmatch_line("*not received*")

    def test_fixture_of_a_project_replaces_tunlab_fixture_of_the_same_name(self, pytester, run, without_capabilities):
        """Run without capabilities: tunlab's fixtures would fail, so only the project's own fixtures run."""
        names = ("tun", "tap", "make_tun", "netns", "make_netns", "lab", "make_lab", "ping", "inject")
        fixtures = "".join(f"@pytest.fixture\ndef {name}(): return 'own {name}'\n" for name in names)
        tests = "".join(f"def test_{name}({name}): assert {name} == 'own {name}'\n" for name in names)
        pytester.makeconftest(f"import pytest\n{fixtures}")
        pytester.makepyfile(tests)
        run(prefix=without_capabilities).assert_outcomes(passed=len(names))

    def test_settings_of_make_tun_override_marker_which_overrides_ini(self, pytester, run):
        pytester.makeini(
            """
            [pytest]
            tunlab_address = 10.7.0.1/16
            tunlab_mtu = 1280
            tunlab_timeout = 0.5
            tunlab_sysctls =
                net.ipv4.tcp_sack = 0
                net.ipv4.tcp_timestamps = 0
            """
        )
        pytester.makepyfile(
            """
            import pytest

            def test_ini(tun):
                assert (tun.address, str(tun.network), tun.device.mtu, tun.timeout) == (
                    "10.7.0.1", "10.7.0.0/16", 1280, 0.5)
                assert tun.netns.sysctl("net.ipv4.tcp_sack") == "0"

            @pytest.mark.tun(address="10.8.0.1/24", ifname="wire")
            class TestClass:
                @pytest.mark.tun(address="10.9.0.1/24", sysctls={"net.ipv4.tcp_sack": "1"})
                def test_marker(self, tun):
                    assert (tun.address, tun.ifname, tun.device.mtu) == ("10.9.0.1", "wire", 1280)
                    assert tun.netns.sysctl("net.ipv4.tcp_sack") == "1"
                    assert tun.netns.sysctl("net.ipv4.tcp_timestamps") == "0"

                def test_outer_marker(self, tun, make_tun):
                    assert tun.address == "10.8.0.1"
                    assert make_tun(address="10.6.0.1/24").address == "10.6.0.1"
            """
        )
        run().assert_outcomes(passed=3)

    @pytest.mark.parametrize(
        ("marker", "sentence"),
        [
            ("adress='10.1.2.1/24'", "*has no setting 'adress'. Did you mean address[?]*"),
            ("'10.1.2.1/24'", "*takes keyword arguments only*address=*"),
            ("address='10.1.2.256/24'", "*10.1.2.256/24*"),
            ("ifname='sixteen-letters-'", "*15*"),
            ("sysctls={'net.ipv4.no_such': '1'}", "*no such sysctl*"),
            ("sysctls={'kernel.hostname': 'x'}", "*belongs to the machine*"),
            ("sysctls='net.ipv4.tcp_sack = 0'", "*sysctls=*is invalid. Give a dictionary*"),
            ("mtu='1500'", "*mtu='1500' is invalid. Give a number of bytes*"),
            ("mtu=10", "*68*65535*"),
            ("timeout='soon'", "*timeout='soon' is invalid*"),
            ("timeout=-1", "*timeout=-1 is invalid. Give 0 or more seconds*"),
            ("ipv6='no'", "*ipv6='no' is invalid. Give True or False*"),
        ],
    )
    def test_tun_marker_with_invalid_setting_fails_with_one_sentence(self, pytester, run, marker, sentence):
        pytester.makepyfile(f"import pytest\n@pytest.mark.tun({marker})\ndef test_x(tun): pass\n")
        result = run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([sentence])
        assert is_one_sentence(result, "tunlab: ")

    @pytest.mark.parametrize(
        "line", ["tunlab_mtu = big", "tunlab_timeout = soon", "tunlab_sysctls = tcp_sack", "tunlab_ipv6 = maybe"]
    )
    def test_error_of_invalid_ini_value_names_the_option(self, pytester, run, line):
        pytester.makeini(f"[pytest]\n{line}\n")
        pytester.makepyfile("def test_x(tun): pass\n")
        result = run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"*{line.split()[0]}*"])

    def test_fixtures_and_tun_marker_are_listed_by_pytest(self, run):
        shown = run("--fixtures").stdout.str()
        assert all(
            f"{name} --" in shown for name in ("tun", "tap", "make_tun", "netns", "make_netns", "ping", "inject")
        )
        run("--markers").stdout.fnmatch_lines(["@pytest.mark.tun(address=*"])

    def test_command_line_options_are_in_pytest_help(self, run):
        run("--help").stdout.fnmatch_lines(
            ["*--tunlab-skip-unprivileged*", "*--tunlab-rootless*", "*--tunlab-workers=SPEC*"]
        )

    def test_tun_marker_is_accepted_with_strict_markers(self, pytester, run):
        pytester.makepyfile(
            "import pytest\n@pytest.mark.tun(mtu=1400)\ndef test_x(tun): assert tun.device.mtu == 1400\n"
        )
        run("--strict-markers").assert_outcomes(passed=1)


class TestUnusedPlugin:
    def test_plugin_without_tunlab_tests_imports_no_heavy_modules(self, pytester, run):
        pytester.makepyfile(
            """
            import sys

            def test_imports():
                heavy = ("pyroute2", "docker", "click", "msgspec", "tunlab.kernel", "tunlab.traffic", "tunlab.packet")
                assert "tunlab.pytest_plugin" in sys.modules
                assert [name for name in heavy if name in sys.modules] == []
            """
        )
        run().assert_outcomes(passed=1)

    def test_plugin_without_tunlab_tests_does_not_enter_user_namespace(self, pytester, run, as_nobody):
        pytester.makepyfile("import os\ndef test_x(): print(os.readlink('/proc/self/ns/user'))\n")
        result = run("-s", prefix=as_nobody(work=pytester.path))
        result.assert_outcomes(passed=1)
        assert str(Path("/proc/self/ns/user").readlink()) in result.stdout.str()
