"""Tracebacks of errors in a user's code: they must not show frames of tunlab's pytest hooks."""

import ast
from pathlib import Path

import pytest

import tunlab.pytest_plugin

FIXTURES = {
    "setup": "raise ValueError('mine')",
    "teardown": "yield\n    raise ValueError('mine')",
    "call": "def fail():\n        raise ValueError('mine')\n    return fail",
}


@pytest.mark.parametrize("scope", ["function", "session"])
@pytest.mark.parametrize("uses_tun", [False, True], ids=["without-tun", "with-tun"])
@pytest.mark.parametrize("phase", FIXTURES)
def test_traceback_of_error_in_fixture_shows_no_tunlab_frame(pytester, run, phase, uses_tun, scope):
    fixture = f"@pytest.fixture(scope={scope!r})\ndef broken():\n    {FIXTURES[phase]}\n"
    pytester.makeconftest(f"import pytest\n{fixture}")
    arguments = "tun, broken" if uses_tun else "broken"
    pytester.makepyfile(f"def test_x({arguments}):\n    {'broken()' if phase == 'call' else 'pass'}\n")
    output = run().stdout.str()
    assert "ValueError: mine" in output
    assert "tunlab/pytest_plugin" not in output


@pytest.mark.parametrize(
    "conftest",
    [
        "raise ValueError('mine')",
        "def pytest_runtest_logreport(report): raise ValueError('mine')",
    ],
)
def test_traceback_of_error_in_conftest_hook_shows_no_tunlab_frame(pytester, run, conftest):
    pytester.makeconftest(conftest)
    pytester.makepyfile("def test_x(tun): pass")
    result = run()
    output = result.stdout.str() + result.stderr.str()
    assert "ValueError: mine" in output
    assert "tunlab/pytest_plugin" not in output


def hook_wrappers():
    """Yield the syntax tree of every hook wrapper in tunlab's pytest plugin."""
    for path in sorted(Path(tunlab.pytest_plugin.__file__).parent.glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any("wrapper=True" in ast.unparse(d) for d in node.decorator_list):
                yield pytest.param(node, id=f"{path.stem}.{node.name}")


@pytest.mark.parametrize("wrapper", list(hook_wrappers()))
def test_hook_wrapper_hides_its_frame_in_tracebacks(wrapper):
    body = wrapper.body[1:] if ast.get_docstring(wrapper) else wrapper.body
    assert ast.unparse(body[0]) == "__tracebackhide__ = True"


MISTAKES = {
    "make_tun('10.1.2.1/33')": "KernelError: *10.1.2.1/33*",
    "make_tun(mtu=3)": "KernelError: *MTU 3*",
    "make_tun(mode='bad')": "ValueError: mode='bad'*",
    "make_lab(bad=3)": "TopologyError: `bad`*",
    "tun.listen(80000)": "KernelError: listen on port 80000*",
    "tun.listen(80), tun.listen(80)": "KernelError: listen on port 80:*",
    "tun.popen(['nosuchprog'])": "KernelError: run nosuchprog*",
    "tun.expect('tcp')": "TypeError: 'tcp'*",
    "tun.ping('nosuch')": "KernelError: ping*nosuch*",
    "tun.inject(b'')": "KernelError: *0 bytes*",
}


def test_traceback_of_users_mistake_ends_at_the_users_line(pytester, run):
    lines = [f"def test_{at}(tun, make_tun, make_lab):\n    {line}" for at, line in enumerate(MISTAKES)]
    pytester.makepyfile("\n".join(lines))
    result = run("--tb=short")
    result.assert_outcomes(failed=len(MISTAKES))
    result.stdout.no_fnmatch_line("*tunlab/*.py:*")
    result.stdout.no_fnmatch_line("*contextlib.py:*")
    for line, error in MISTAKES.items():
        result.stdout.fnmatch_lines([f"    {line.replace('[', '[[]')}", f"E   *{error}"])


def test_traceback_of_users_mistake_with_full_trace_shows_every_frame(pytester, run):
    pytester.makepyfile("def test_x(tun):\n    tun.inject(b'')\n")
    run("--full-trace").stdout.fnmatch_lines(["*tunlab/traffic/inbox.py:*"])


def test_traceback_of_error_inside_tunlab_shows_its_frames(pytester, run):
    pytester.makepyfile("def test_x(tun):\n    tun._fences = 1\n    tun.fence()\n")
    run("--tb=short").stdout.fnmatch_lines(["*tunlab/traffic/*.py:*", "E   *Error*int*"])
