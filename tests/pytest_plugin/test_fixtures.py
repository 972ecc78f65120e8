"""The plugin, by real pytest runs inside pytest: fixtures, settings, refusals, parallel runs, what it leaves behind."""

import os
import re
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tunlab.kernel.rtnl import Rtnl

ALL_FIXTURES = """
    import pytest
    from tunlab.packet import ICMP, IPv4, reply

    @pytest.mark.parametrize("number", range(6))
    def test_exchange(tun, number):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, number), b"payload")
        assert tun.expect(ICMP.where(type=0)).icmp.sequence_number == number

    def test_functions(tun, netns, ping, inject, make_tun, make_netns):
        assert tun.netns is netns
        waiting = ping("10.1.2.3", payload=b"x")
        request = tun.expect(ICMP)
        inject(*reply(request), request.payload)
        assert waiting.reply().payload == b"x"
        assert make_tun(ifname="tun1").netns is not netns
        assert make_netns().identity != netns.identity
        assert netns.run(["true"]).returncode == 0
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """A pytest run in a process of its own, as a user would start it, behind a `prefix` of other programs."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "")
    monkeypatch.delenv("PYTEST_XDIST_WORKER", raising=False)

    def run(*arguments, prefix=()):
        command = [*prefix, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        return pytester.run(*command)

    return run


class TestFixtures:
    @pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
    def test_all_of_them(self, pytester, run, parallel):
        pytester.makepyfile(ALL_FIXTURES)
        run(*parallel).assert_outcomes(passed=7)

    def test_what_a_test_leaves_open_is_closed(self, pytester, run):
        pytester.makepyfile(
            test_leaving="""
            def test_programs_and_sockets(tun, netns):
                tun.popen(["sleep", "1000"])
                netns.popen(["sleep", "1000"])
                tun.listen(80)

            def test_a_failing_one(tun):
                tun.popen(["sleep", "1000"])
                assert False

            def test_nothing_is_left(tun):
                from pathlib import Path
                children = " ".join(file.read_text() for file in Path("/proc/self/task").glob("*/children")).split()
                names = [Path("/proc", child, "comm").read_text().strip() for child in children]
                assert "sleep" not in names
            """
        )
        result = run("-W", "error")
        result.assert_outcomes(passed=2, failed=1)

    def test_settings_by_ini_marker_and_call_each_over_the_one_before(self, pytester, run):
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
            ("adress='10.1.2.1/24'", "*has no setting 'adress'; did you mean address[?]*"),
            ("'10.1.2.1/24'", "*takes keywords*address=*"),
            ("address='10.1.2.256/24'", "*10.1.2.256/24*"),
            ("ifname='sixteen-letters-'", "*15*"),
            ("sysctls={'net.ipv4.no_such': '1'}", "*no such sysctl*"),
            ("sysctls={'kernel.hostname': 'x'}", "*belongs to the machine*"),
            ("sysctls='net.ipv4.tcp_sack = 0'", "*sysctls=*is a dictionary*"),
            ("mtu='1500'", "*mtu='1500' cannot be; it is a number of octets*"),
            ("mtu=10", "*68*65535*"),
            ("timeout='soon'", "*timeout='soon' cannot be*"),
            ("timeout=-1", "*timeout=-1 cannot be; give seconds*"),
            ("ipv6='no'", "*ipv6='no' cannot be; it is True or False*"),
        ],
    )
    def test_settings_that_cannot_be_are_refused(self, pytester, run, marker, sentence):
        pytester.makepyfile(f"import pytest\n@pytest.mark.tun({marker})\ndef test_x(tun): pass\n")
        result = run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([sentence])
        assert told_once(result, "tunlab: ")

    @pytest.mark.parametrize(
        "line", ["tunlab_mtu = big", "tunlab_timeout = soon", "tunlab_sysctls = tcp_sack", "tunlab_ipv6 = maybe"]
    )
    def test_ini_values_that_cannot_be_are_refused(self, pytester, run, line):
        pytester.makeini(f"[pytest]\n{line}\n")
        pytester.makepyfile("def test_x(tun): pass\n")
        result = run()
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines([f"*{line.split()[0]}*"])

    def test_fixtures_and_marker_are_documented(self, run):
        shown = run("--fixtures").stdout.str()
        assert all(f"{name} --" in shown for name in ("tun", "make_tun", "netns", "make_netns", "ping", "inject"))
        run("--markers").stdout.fnmatch_lines(["@pytest.mark.tun(address=*"])

    def test_options_are_documented(self, run):
        run("--help").stdout.fnmatch_lines(
            ["*--tunlab-skip-unprivileged*", "*--tunlab-rootless*", "*--tunlab-on=SPEC*"]
        )

    def test_strict_markers_know_it(self, pytester, run):
        pytester.makepyfile(
            "import pytest\n@pytest.mark.tun(mtu=1400)\ndef test_x(tun): assert tun.device.mtu == 1400\n"
        )
        run("--strict-markers").assert_outcomes(passed=1)


class TestARunThatNeverUsesIt:
    def test_imports_neither_pyroute2_nor_docker_nor_the_kernel_floor(self, pytester, run):
        pytester.makepyfile(
            """
            import sys

            def test_light():
                heavy = ("pyroute2", "docker", "click", "msgspec", "tunlab.kernel", "tunlab.traffic", "tunlab.packet")
                assert "tunlab.pytest_plugin" in sys.modules
                assert [name for name in heavy if name in sys.modules] == []
            """
        )
        run().assert_outcomes(passed=1)

    def test_keeps_its_user_namespace_without_root(self, pytester, run, as_nobody):
        pytester.makepyfile("import os\ndef test_x(): print(os.readlink('/proc/self/ns/user'))\n")
        result = run("-s", prefix=as_nobody(work=pytester.path))
        result.assert_outcomes(passed=1)
        assert str(Path("/proc/self/ns/user").readlink()) in result.stdout.str()


class TestWithoutRights:
    @pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
    def test_each_test_fails_with_one_sentence(self, pytester, run, without_capabilities, parallel):
        pytester.makepyfile("def test_x(tun): pass\ndef test_y(netns): pass\ndef test_z(): pass\n")
        result = run(*parallel, prefix=without_capabilities)
        result.assert_outcomes(passed=1, errors=2)
        result.stdout.fnmatch_lines(["*CAP_SYS_ADMIN*--tunlab-skip-unprivileged skips such tests"])
        assert told_once(result, "tunlab: make a network namespace")

    def test_they_are_skipped_with_that_sentence_when_asked_for(self, pytester, run, without_capabilities):
        pytester.makepyfile("def test_x(tun): pass\n")
        result = run("--tunlab-skip-unprivileged", "-rs", prefix=without_capabilities)
        result.assert_outcomes(skipped=1)
        result.stdout.fnmatch_lines(["SKIPPED*CAP_SYS_ADMIN*"])

    def test_a_missing_tun_node_is_named(self, pytester, run, without_tun_node):
        pytester.makepyfile("def test_x(tun): pass\ndef test_y(netns): pass\n")
        result = run(prefix=without_tun_node)
        result.assert_outcomes(passed=1, errors=1)
        result.stdout.fnmatch_lines(["*/dev/net/tun*"])
        assert told_once(result, "tunlab: ")

    def test_parallel_without_root_the_way_out_is_named(self, pytester, run, as_nobody):
        pytester.makepyfile("def test_x(tun): pass\n")
        result = run("-n", "1", prefix=as_nobody(work=pytester.path))
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*--tunlab-rootless*"])


class TestRootless:
    def test_serially_of_its_own_accord(self, pytester, run, as_nobody):
        pytester.makepyfile(
            ALL_FIXTURES + "\n    def test_who():\n        import os\n        assert os.getuid() == 65534\n"
        )
        run(prefix=as_nobody(work=pytester.path)).assert_outcomes(passed=8)

    def test_in_parallel_where_asked_for(self, pytester, run, as_nobody):
        pytester.makepyfile(ALL_FIXTURES)
        run("-n", "2", "--tunlab-rootless", prefix=as_nobody(work=pytester.path)).assert_outcomes(passed=7)

    def test_programs_keep_their_rights(self, pytester, run, as_nobody):
        pytester.makepyfile(
            """
            from tunlab.packet import ICMP, reply

            def test_the_real_ping(tun):
                program = tun.popen(["ping", "-c", "1", "10.1.2.3"])
                request = tun.expect(ICMP.where(type=8))
                tun.inject(*reply(request), request.payload)
                assert program.wait(20) == 0
            """
        )
        run(prefix=as_nobody(work=pytester.path)).assert_outcomes(passed=1)

    def test_a_closed_node_is_named_with_its_mode(self, pytester, run, as_nobody):
        pytester.makepyfile("def test_x(tun): pass\n")
        result = run(prefix=as_nobody(mode="600", work=pytester.path))
        result.assert_outcomes(errors=1)
        result.stdout.fnmatch_lines(["*/dev/net/tun*600*"])


class TestKilled:
    @pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
    def test_a_run_killed_with_sigkill_leaves_no_namespace_device_process_or_file(
        self, pytester, tmp_path, netns, parallel
    ):
        """The run ties each of its namespaces to ours by a veth, whose end here goes when the other end's home does."""
        pytester.makepyfile(
            f"""
            import os
            from pathlib import Path
            from tunlab.kernel.netns import Netns

            def test_x(tun, make_tun):
                with Netns.open("/proc/{os.getpid()}/fd/{netns.fd}") as witness:
                    for number, each in enumerate([tun, make_tun(ifname="tun7")]):
                        each.device.rtnl.add_veth("end", f"witness{{number}}", peer_netns=witness)
                started = [tun.popen(["sleep", "1000"]), tun.popen(["sh", "-c", "sleep 1000 & exec sleep 1000"])]
                Path("ready").write_text(str(os.getpid()))
                started[0].wait()
            """
        )
        around = Path("/run/netns"), Path("/run/tunlab"), tmp_path.parent
        before = [set(folder.glob("*")) for folder in around]
        with Rtnl(netns) as rtnl, netns.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as events:
            events.bind((0, RTMGRP_LINK))
            events.settimeout(SOON)
            os.mkfifo(pytester.path / "ready")
            ready = os.open(pytester.path / "ready", os.O_RDONLY | os.O_NONBLOCK)
            command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *parallel]
            with (pytester.path / "shown").open("w+") as shown:
                run = subprocess.Popen(command, stdout=shown, cwd=pytester.path)
            poll = select.poll()
            poll.register(ready, select.POLLIN)
            assert poll.poll(30_000), (pytester.path / "shown").read_text()
            tester = int(os.read(ready, 20))  # the run itself, or one of its workers
            os.close(ready)
            assert {link.name for link in rtnl.links()} == {"lo", "witness0", "witness1"}
            handles = [os.pidfd_open(pid) for pid in {tester, *children(tester), *children(run.pid)}]
            assert len(handles) >= 4  # the tester, its programs, and the guardian
            run.kill()
            run.wait()
            while {link.name for link in rtnl.links()} != {"lo"}:
                events.recv(65_536)  # raises TimeoutError when nothing more happens
        for handle in handles:
            assert ended(handle), "a process outlived the run"
            os.close(handle)
        assert [set(folder.glob("*")) for folder in around] == before


def children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def told_once(result, sentence):
    """Whether each error section has the sentence once, and nothing of the way it took through tunlab."""
    text = result.stdout.str()
    sections = re.split(r"^_+ ERROR at setup of .* _+$", text.split("short test summary")[0], flags=re.MULTILINE)[1:]
    assert sections
    assert [section.count(sentence) for section in sections] == [1] * len(sections), text
    return not re.search("During handling|Traceback|tunlab/pytest_plugin|tunlab/kernel", text)


RTMGRP_LINK = 1  # <linux/rtnetlink.h>
SOON = 5
"""Seconds: it takes a moment where the kernel ends the workers with their controller, and 15 where execnet does."""


def ended(handle):
    """Whether the process of this pidfd has ended; waits for it."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(SOON * 1000))
