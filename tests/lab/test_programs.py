"""Programs that nodes start with: when they are ready, and what is said when they are not."""

import pytest

from tunlab.errors import KernelError, LabError
from tunlab.lab import Lab
from tunlab.lab.programs import listening_ports
from tunlab.topology.plan import CommandPlan, LabPlan, NodePlan


def lab_with(*arguments, **ready):
    command = CommandPlan(arguments=arguments, **ready)
    return Lab.from_plan(LabPlan(name="x", nodes=(NodePlan(name="server", kind="host", run=(command,)),))).start()


class TestReady:
    def test_a_port(self):
        with lab_with("python3", "-m", "http.server", "8000", ready_port=8000) as lab:
            assert 8000 in listening_ports(lab["server"].netns)

    def test_a_port_of_ipv6_only(self):
        script = (
            "import socket; s = socket.create_server(('::1', 9000), family=socket.AF_INET6);"
            "print('there', flush=True); s.accept()"
        )
        node = NodePlan(
            name="server",
            kind="host",
            ipv6=True,
            run=(CommandPlan(arguments=("python3", "-c", script), ready_port=9000),),
        )
        with Lab.from_plan(LabPlan(name="x", nodes=(node,))) as lab:
            assert listening_ports(lab["server"].netns) == {9000}

    def test_a_line_on_either_stream(self):
        script = "echo starting; echo now ready >&2; exec sleep 600"
        with lab_with("sh", "-c", script, ready_line="^now ready$") as lab:
            assert lab["server"].programs[0].output == "starting\nnow ready\n"

    def test_a_python_programs_line_is_not_held_back_in_its_buffer(self):
        script = "print('ready'); import signal; signal.pause()"
        with lab_with("python3", "-c", script, ready_line="ready") as lab:
            assert lab["server"].programs[0].process.poll() is None

    def test_a_line_of_a_program_that_has_ended_counts(self):
        with lab_with("echo", "ready", ready_line="ready") as lab:
            assert lab["server"].programs[0].process.wait() == 0

    def test_without_a_sign_nobody_waits(self):
        with lab_with("sleep", "600") as lab:
            assert lab["server"].programs[0].process.poll() is None


class TestNotReady:
    def test_it_ends_before(self):
        with pytest.raises(LabError) as caught:
            lab_with("sh", "-c", "echo no such page; exit 3", ready_port=80)
        assert str(caught.value) == (
            "'sh -c echo no such page; exit 3' in node server exited with status 3 before it was ready;"
            " run it in the node to see why\n"
            "the end of its output:\n"
            "  no such page"
        )

    def test_it_is_killed_before(self):
        with pytest.raises(LabError, match="was killed by SIGTERM before it was ready"):
            lab_with("sh", "-c", "kill -TERM $$", ready_line="ready")

    def test_it_takes_too_long(self):
        with pytest.raises(LabError, match=r"was not ready after 0.05 s: no socket listens on TCP port 80; raise its"):
            lab_with("sleep", "600", ready_port=80, timeout=0.05)
        with pytest.raises(LabError, match=r"was not ready after 0.05 s: no line of its output matches 'ready'"):
            lab_with("sleep", "600", ready_line="ready", timeout=0.05)

    def test_there_is_no_such_program(self):
        with pytest.raises(KernelError, match="there is no program 'no-such' on this machine"):
            lab_with("no-such")
