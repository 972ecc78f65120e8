"""The fixtures `dut` and `make_dut` as users see them: choice of the device, settings, reports, expected failures."""

import pytest

STACK = """
class Stack:
    '''A host that answers each packet with the same bytes, and a second later again.'''

    def __init__(self, *addresses):
        self.addresses, self.sent, self.later = addresses, [], None

    def receive(self, data, now):
        self.sent.append(data)
        self.later = now + 10**9, data

    def poll(self, now):
        if self.later is not None and self.later[0] <= now:
            self.sent.append(self.later[1])
            self.later = None
        sent, self.sent = self.sent, []
        return sent

    def next_deadline(self):
        return None if self.later is None else self.later[0]

class Silent(Stack):
    '''A host that answers nothing.'''

    def receive(self, data, now):
        pass

def crash(descriptor):
    import os, sys
    os.read(descriptor, 65536)
    sys.exit("no memory left")
"""
TESTS = """
from tunlab.packet import ICMP, IPv4, build

def ping(dut):
    return dut.inject(IPv4(src=dut.peer, dst=dut.address), ICMP.echo_request(1, 1))
"""


@pytest.fixture
def project(pytester, run):
    """Make a project with two stacks, and return a function that runs tests there."""
    pytester.makepyfile(stacks=STACK)
    pytester.makeini("[pytest]\npythonpath = .")

    def test(code, *arguments):
        pytester.makepyfile(TESTS + code)
        return run(*arguments)

    return test


ANSWERED = """
def test_answer(dut):
    ping(dut)
    assert dut.expect(ICMP).time == 0
    assert dut.expect(ICMP, timeout=5).time == 10**9
"""


def test_dut_option_runs_tests_once_per_device(project):
    result = project(ANSWERED, "--dut=object:stacks:Stack", "--dut=object:stacks:Silent", "-v")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines_random(["*test_answer[[]object:stacks:Stack[]] PASSED*", "*Silent[[]*"][:1])


def test_dut_ini_option_names_the_device(project, pytester):
    pytester.makeini("[pytest]\npythonpath = .\ntunlab_dut = object:stacks:Stack")
    project(ANSWERED).assert_outcomes(passed=1)


def test_dut_marker_names_the_device_and_its_settings(project):
    code = """
import pytest

@pytest.mark.dut("object:stacks:Stack", address="192.0.2.1/24", services={"echo": 7007})
def test_settings(dut):
    assert (dut.address, dut.peer, dut.services.echo, dut.services.discard) == ("192.0.2.1", "192.0.2.2", 7007, 9)

@pytest.mark.dut("object:stacks:Silent")
def test_option_overrides_marker(dut):
    assert dut.target == "object:stacks:Stack"
"""
    project(code, "--dut=object:stacks:Stack").assert_outcomes(passed=2)


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ("", "the dut fixture needs a device under test. Give --dut=TARGET, or set tunlab_dut."),
        ("@pytest.mark.dut('kernel', adress='10.1.2.1/24')", "@pytest.mark.dut has no setting 'adress'. Did you mean"),
        ("@pytest.mark.dut('kernel', mode='ppp')", "@pytest.mark.dut: mode='ppp' is invalid. Give 'tun' or 'tap'."),
        ("@pytest.mark.dut('kernel', 'object:stacks:Stack')", "@pytest.mark.dut takes one device under test: "),
        ("@pytest.mark.dut('kernel')\n@pytest.mark.dut_xfail()", "@pytest.mark.dut_xfail takes a reason and a device"),
    ],
)
def test_dut_wrong_setting_fails_with_one_sentence(project, marker, message):
    result = project(f"import pytest\n\n{marker}\ndef test_it(dut):\n    pass\n")
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"tunlab: {message}*".replace("[", "[[]")])


def test_dut_xfail_is_strict_and_only_for_the_named_device(project):
    code = """
import pytest

@pytest.mark.dut_xfail("answers nothing yet", dut="*Silent")
def test_answer(dut):
    ping(dut)
    dut.expect(ICMP)

@pytest.mark.dut_xfail("it is thought to fail", dut="object")
def test_nothing(dut):
    pass
"""
    result = project(code, "--dut=object:stacks:Stack", "--dut=object:stacks:Silent", "-rx")
    result.assert_outcomes(passed=1, xfailed=1, failed=2)
    result.stdout.fnmatch_lines(["XFAIL *answers nothing yet (object:stacks:Silent)*"])


def test_failure_report_of_an_object_has_virtual_times(project):
    code = "def test_answer(dut):\n    ping(dut)\n    dut.expect(ICMP.where(type=0))\n"
    result = project(code, "--dut=object:stacks:Stack")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*waited 2.000 s for ICMP(type=0)*",
            "*2 packets arrived*",
            "*ms   test       dut*",
            "*0.000  ├────────▶│  IP 10.1.2.2 > 10.1.2.1: ICMP echo request*",
            "*0.000  │◀────────┤  IP 10.1.2.2 > 10.1.2.1: ICMP echo request*",
            "*1000.000  │◀────────┤  IP 10.1.2.2 > 10.1.2.1: ICMP echo request*",
            "*2000.000  │         │  – test_failure*waited 2.000 s*",
        ]
    )
    assert "the kernel says" not in result.stdout.str()


def test_failure_report_of_a_program_has_its_output(project):
    result = project("def test_it(dut):\n    ping(dut)\n    dut.expect(ICMP)\n", "--dut=fd:stacks:crash")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "*DeviceError: fd:stacks:crash exited with status 1. Keep the program running until the test ends.*",
            "*-- output of fd:stacks:crash --*",
            "no memory left",
        ]
    )


def test_program_that_ends_fails_a_test_that_expects_nothing(project):
    code = """
def test_it(dut):
    ping(dut)
    dut._process._ended.poll()
"""
    result = project(code, "--dut=fd:stacks:crash")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["DeviceError: fd:stacks:crash exited with status 1. Keep the program running*"])


def test_strict_test_of_a_dut_fails_for_a_packet_that_it_does_not_expect(project):
    code = "import pytest\n\n@pytest.mark.dut(strict=True)\ndef test_it(dut):\n    ping(dut)\n"
    result = project(code, "--dut=object:stacks:Stack")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*strict: the test did not expect, capture or read 1 packet from object:*"])


def test_dut_of_each_unprivileged_kind_needs_no_root(project, pytester, as_nobody, run):
    pytester.makepyfile(TESTS + "def test_it(make_dut):\n    ping(make_dut())\n")
    for target in ("object:stacks:Stack", "fd:stacks:crash"):
        code = "def test_it(dut):\n    ping(dut)\n    dut._process and setattr(dut._process, 'end_is_known', True)\n"
        pytester.makepyfile(TESTS + code)
        run(f"--dut={target}", "--tunlab-record=never", prefix=as_nobody("600", pytester.path)).assert_outcomes(
            passed=1
        )
