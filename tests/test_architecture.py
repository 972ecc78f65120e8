"""The house as it is drawn: the public face is true, imports are light, files are small and no drawers."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tunlab
import tunlab.packet

PACKAGE = Path(tunlab.__file__).parent
TESTS = Path(__file__).parent
MODULES = sorted(path.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py"))
DRAWERS = {"utils", "util", "helpers", "helper", "common", "base", "misc"}


class TestTheFace:
    def test_every_name_of_the_package_is_there_and_the_list_is_sorted(self):
        assert tunlab.__all__ == sorted(tunlab.__all__)
        for name in tunlab.__all__:
            assert getattr(tunlab, name).__name__ == name
        assert set(tunlab.__all__) <= set(dir(tunlab))

    def test_the_list_the_homes_and_what_checkers_see_are_one(self):
        source = ast.parse((PACKAGE / "__init__.py").read_text())
        checking = next(node for node in source.body if isinstance(node, ast.If))
        seen = {alias.name: node.module for node in checking.body for alias in node.names}
        assert seen == tunlab._HOME_OF
        assert sorted(seen) == tunlab.__all__

    def test_a_name_that_is_not_there_is_an_attribute_error(self):
        with pytest.raises(AttributeError, match="no attribute 'Tnu'"):
            _ = tunlab.Tnu

    def test_every_public_name_of_the_packet_package_is_listed(self):
        public = {name for name in vars(tunlab.packet) if name.isidentifier() and not name.startswith("_")}
        submodules = {path.stem for path in (PACKAGE / "packet").glob("*.py")}
        listed = set(tunlab.packet.__all__)
        assert public - (submodules - listed) == listed

    def test_every_public_name_has_a_docstring(self):
        for module in (tunlab, tunlab.packet):
            for name in module.__all__:
                assert getattr(module, name).__doc__, name


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
    def test_what_is_heavy_is_not_loaded(self, statement, absent):
        check = f"import sys; {statement}; print(sorted(set({absent!r}) & set(sys.modules)))"
        shown = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True).stdout
        assert shown == "[]\n"


class TestFiles:
    @pytest.mark.parametrize("module", MODULES, ids=str)
    def test_a_module_says_its_one_job_first(self, module):
        source = ast.parse((PACKAGE / module).read_text())
        assert (ast.get_docstring(source) or "").split("\n")[0].strip()

    @pytest.mark.parametrize("module", MODULES, ids=str)
    def test_a_module_has_a_seam_before_400_lines_and_is_no_drawer(self, module):
        assert len((PACKAGE / module).read_text().splitlines()) <= 400
        assert module.stem not in DRAWERS

    def test_nothing_sleeps(self):
        for path in (*PACKAGE.rglob("*.py"), *TESTS.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call):
                    called = ast.unparse(node.func)
                    assert called not in {"time.sleep", "sleep"}, f"{path}:{node.lineno}"
