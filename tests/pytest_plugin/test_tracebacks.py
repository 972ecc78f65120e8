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
