"""Tests that public names are sorted and documented, and that the types in their signatures are public too."""

import ast
import inspect
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import get_args

import pytest

import tunlab
import tunlab.packet
import tunlab.pytest_plugin

PACKAGE = Path(tunlab.__file__).parent
PUBLIC = {id(getattr(module, name)) for module in (tunlab, tunlab.packet) for name in module.__all__}
FIXTURE_MODULES = (
    "tunlab.pytest_plugin.fixtures",
    "tunlab.pytest_plugin.lab_fixtures",
    "tunlab.pytest_plugin.dut_fixtures",
)


@cache
def source(module):
    """Return the syntax tree of an imported module."""
    return ast.parse(inspect.getsource(sys.modules[module]))


@cache
def tunlab_names(module):
    """Return {name: object} of a module's own names and imports from tunlab, with those under `TYPE_CHECKING`."""
    names = dict(vars(sys.modules[module]))
    for node in ast.walk(source(module)):
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tunlab"):
            for alias in node.names:
                names[alias.asname or alias.name] = getattr(import_module(node.module), alias.name)
        elif isinstance(node, ast.ImportFrom | ast.Import):
            for alias in node.names:
                names.pop(alias.asname or alias.name, None)
    return names


def is_public(name):
    return not name.startswith("_") or name.endswith("__")


def annotations(node):
    """Yield (place, annotation) for each public function, method and attribute in a syntax tree."""
    for child in node.body:
        if isinstance(child, ast.FunctionDef) and is_public(child.name):
            arguments = child.args
            for each in (
                *arguments.posonlyargs,
                *arguments.args,
                *arguments.kwonlyargs,
                arguments.vararg,
                arguments.kwarg,
            ):
                if each is not None and each.annotation is not None:
                    yield f"{child.name}({each.arg})", each.annotation
            if child.returns is not None:
                yield f"{child.name}()", child.returns
        elif isinstance(child, ast.AnnAssign) and isinstance(child.target, ast.Name) and is_public(child.target.id):
            yield child.target.id, child.annotation


def public_annotations():
    """Yield (module, place, annotation) for every public name of tunlab (`__all__`) and every fixture."""
    for package in (tunlab, tunlab.packet):
        for name in package.__all__:
            value = getattr(package, name)
            for owner in value.__mro__ if isinstance(value, type) else [value]:
                module = getattr(owner, "__module__", "")
                if not module.startswith("tunlab") or not hasattr(owner, "__name__"):
                    continue
                (node,) = [each for each in source(module).body if getattr(each, "name", "") == owner.__name__]
                if isinstance(node, ast.FunctionDef):
                    node = ast.Module([node], [])
                for place, annotation in annotations(node):
                    yield module, f"{name}.{place}", annotation
    for module in FIXTURE_MODULES:
        import_module(module)
        fixtures = ast.Module([each for each in source(module).body if getattr(each, "decorator_list", [])], [])
        for place, annotation in annotations(fixtures):
            yield module, f"fixture {place}", annotation


def classes_in(value):
    """Return the classes of tunlab in a type such as `Header | bytes`."""
    if isinstance(value, type) and not get_args(value):
        return {value} if value.__module__.startswith("tunlab") else set()
    return set().union(*map(classes_in, get_args(value)))


def test_types_in_public_signatures_can_be_imported():
    missing = {}
    for module, place, annotation in public_annotations():
        is_quoted = isinstance(annotation, ast.Constant) and isinstance(annotation.value, str)
        tree = ast.parse(annotation.value, mode="eval") if is_quoted else annotation
        for node in ast.walk(tree):
            if isinstance(node, ast.Name):
                for value in classes_in(tunlab_names(module).get(node.id)):
                    if id(value) not in PUBLIC:
                        missing.setdefault(f"{value.__module__}.{value.__name__}", []).append(place)
    assert missing == {}


def test_names_in_tunlab_all_are_sorted_and_exist():
    assert tunlab.__all__ == sorted(tunlab.__all__)
    for name in tunlab.__all__:
        assert getattr(tunlab, name) is not None
    assert set(tunlab.__all__) <= set(dir(tunlab))


def test_lazily_imported_names_equal_tunlab_all_and_type_checking_imports():
    checking = next(node for node in source("tunlab").body if isinstance(node, ast.If))
    imported = {alias.name: node.module for node in checking.body for alias in node.names}
    assert imported == tunlab._MODULE_OF
    assert sorted(imported) == tunlab.__all__


def test_unknown_attribute_of_tunlab_raises_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'Tnu'"):
        _ = tunlab.Tnu


def test_all_of_tunlab_packet_lists_every_public_name():
    public = {name for name in vars(tunlab.packet) if name.isidentifier() and not name.startswith("_")}
    submodules = {path.stem for path in (PACKAGE / "packet").iterdir()}
    listed = set(tunlab.packet.__all__)
    assert public - (submodules - listed) == listed


def test_every_public_name_has_a_docstring():
    for module in (tunlab, tunlab.packet):
        for name in module.__all__:
            assert getattr(module, name).__doc__, name
