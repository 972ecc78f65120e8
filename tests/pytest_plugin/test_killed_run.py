"""Cleanup after SIGKILL to a pytest run: the kernel removes namespaces, devices and programs."""

import os
import select
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tunlab.kernel.network.rtnl import Rtnl

RTMGRP_LINK = 1  # Source: <linux/rtnetlink.h>
SOON = 5
"""Seconds. The kernel ends workers at once when their controller dies; execnet alone would take 15 seconds."""


class TestKilled:
    @pytest.mark.parametrize("parallel", [(), ("-n", "2")], ids=["serial", "parallel"])
    def test_sigkill_of_pytest_leaves_no_namespace_device_process_or_file(self, pytester, tmp_path, netns, parallel):
        """Watch veth pairs between the run's namespaces and the test's: both ends disappear with a namespace."""
        pytester.makepyfile(
            f"""
            import os
            from pathlib import Path
            from tunlab.kernel.namespace.netns import Netns

            def test_x(tun, make_tun):
                with Netns.open("/proc/{os.getpid()}/fd/{netns.fd}") as witness:
                    for number, each in enumerate([tun, make_tun(ifname="tun7")]):
                        each.device.rtnl.add_veth("end", f"witness{{number}}", peer_netns=witness)
                started = [tun.popen(["sleep", "1000"]), tun.popen(["sh", "-c", "sleep 1000 & exec sleep 1000"])]
                Path("ready").write_text(str(os.getpid()))
                started[0].wait()
            """
        )
        directories = Path("/run/netns"), Path("/run/tunlab"), tmp_path.parent
        before = [set(folder.glob("*")) for folder in directories]
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
            tester = int(os.read(ready, 20))  # the process that runs the test: pytest or a worker
            os.close(ready)
            assert {link.name for link in rtnl.links()} == {"lo", "witness0", "witness1"}
            handles = [os.pidfd_open(pid) for pid in {tester, *children(tester), *children(run.pid)}]
            assert len(handles) >= 4  # at least: tester, its two programs, tunlab's guardian process
            run.kill()
            run.wait()
            while {link.name for link in rtnl.links()} != {"lo"}:
                events.recv(65_536)  # raises TimeoutError if no link changes for SOON seconds
        for handle in handles:
            assert ended(handle), "a process outlived the run"
            os.close(handle)
        assert [set(folder.glob("*")) for folder in directories] == before


def children(pid):
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def ended(handle):
    """Wait for the end of a process, given as pidfd. Return True if it ended within SOON seconds."""
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    return bool(poll.poll(SOON * 1000))
