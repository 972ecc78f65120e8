"""Programs that a lab file starts in nodes: their ready conditions, and errors if they do not become ready."""

import pytest

from tunlab.errors import KernelError, LabError
from tunlab.lab import Lab
from tunlab.lab.readiness import listening_ports
from tunlab.topology.plan import CommandPlan, LabPlan, NodePlan


def lab_with(*arguments, **ready):
    command = CommandPlan(arguments=arguments, **ready)
    return Lab.from_plan(LabPlan(name="x", nodes=(NodePlan(name="server", kind="host", run=(command,)),))).start()


class TestReady:
    def test_lab_start_waits_until_the_ready_port_of_a_program_is_open(self):
        with lab_with("python3", "-m", "http.server", "8000", ready_port=8000) as lab:
            assert 8000 in listening_ports(lab["server"].netns)

    def test_lab_start_accepts_an_ipv6_listener_on_the_ready_port(self):
        script = (
            "import socket; s = socket.create_server(('::1', 9000), family=socket.AF_INET6);"
            "print('listening', flush=True); s.accept()"
        )
        node = NodePlan(
            name="server",
            kind="host",
            ipv6=True,
            run=(CommandPlan(arguments=("python3", "-c", script), ready_port=9000),),
        )
        with Lab.from_plan(LabPlan(name="x", nodes=(node,))) as lab:
            assert listening_ports(lab["server"].netns) == {9000}

    def test_lab_start_finds_the_ready_line_of_a_program_on_stderr(self):
        script = "echo starting; echo now ready >&2; exec sleep 600"
        with lab_with("sh", "-c", script, ready_line="^now ready$") as lab:
            assert lab["server"].programs[0].output == "starting\nnow ready\n"

    def test_lab_start_receives_the_ready_line_of_a_python_program_at_once(self):
        script = "print('ready'); import signal; signal.pause()"
        with lab_with("python3", "-c", script, ready_line="ready") as lab:
            assert lab["server"].programs[0].poll() is None

    def test_program_that_exits_after_its_ready_line_counts_as_ready(self):
        with lab_with("echo", "ready", ready_line="ready") as lab:
            assert lab["server"].programs[0].wait() == 0

    def test_lab_start_does_not_wait_for_a_program_without_ready_condition(self):
        with lab_with("sleep", "600") as lab:
            assert lab["server"].programs[0].poll() is None


class TestNotReady:
    def test_program_that_exits_before_ready_raises_error_with_status_and_output(self):
        with pytest.raises(LabError) as caught:
            lab_with("sh", "-c", "echo no such page; exit 3", ready_port=80)
        assert str(caught.value) == (
            "'sh -c echo no such page; exit 3' in node server exited with status 3 before it was ready."
            " Run the program in the node to see why.\n"
            "the end of its output:\n"
            "  no such page"
        )

    def test_program_killed_before_ready_raises_error_naming_the_signal(self):
        with pytest.raises(LabError, match="was killed by SIGTERM before it was ready"):
            lab_with("sh", "-c", "kill -TERM $$", ready_line="ready")

    def test_program_not_ready_in_time_raises_error_naming_the_condition(self):
        with pytest.raises(LabError, match=r"was not ready after 0.05 s: no socket of it listens on TCP port 80"):
            lab_with("sleep", "600", ready_port=80, timeout=0.05)
        with pytest.raises(LabError, match=r"was not ready after 0.05 s: no line of its output matches 'ready'"):
            lab_with("sleep", "600", ready_line="ready", timeout=0.05)

    def test_lab_start_with_unknown_program_raises_kernel_error(self):
        with pytest.raises(KernelError, match="there is no program 'no-such' on this machine"):
            lab_with("no-such")
