"""Rules of the code: fast imports, small files with a docstring, no catch-all modules, no calls of sleep."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tunlab

PACKAGE = Path(tunlab.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
CATCH_ALL_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc"}


class TestImports:
    @pytest.mark.parametrize(
        ("statement", "absent"),
        [
            ("import tunlab", ("pyroute2", "docker", "pytest", "click", "msgspec", "tunlab.packet", "tunlab.kernel")),
            ("import tunlab.packet", ("pyroute2", "docker", "pytest", "click", "socket", "subprocess")),
            ("import tunlab.traffic", ("pyroute2", "docker", "pytest", "click")),
            ("import tunlab.cli", ("pyroute2", "docker", "pytest", "tunlab.kernel.network.rtnl")),
        ],
    )
    def test_import_of_tunlab_does_not_load_heavy_modules(self, statement, absent):
        check = f"import sys; {statement}; print(sorted(set({absent!r}) & set(sys.modules)))"
        shown = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
        assert shown == "[]\n"


class TestFiles:
    @pytest.mark.parametrize("module", MODULES, ids=str)
    def test_every_module_has_a_docstring(self, module):
        source = ast.parse((PACKAGE / module).read_text())
        assert (ast.get_docstring(source) or "").split("\n")[0].strip()

    @pytest.mark.parametrize("module", MODULES, ids=str)
    def test_every_module_has_at_most_400_lines_and_no_catch_all_name(self, module):
        assert len((PACKAGE / module).read_text().splitlines()) <= 400
        assert module.stem not in CATCH_ALL_NAMES

    def test_no_module_or_test_calls_sleep(self):
        for path in (*PACKAGE.rglob("*.py"), *TESTS.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert called not in {"time.sleep", "sleep"}, f"{path}:{node.lineno}"
