"""`tunlab graph`: drawings of labs in every format, printed or written to a file."""

import tomllib

import pytest

from tunlab.lab.lab_files import ready_labs

READY = sorted(ready_labs())


@pytest.mark.parametrize("name", READY)
def test_graph_of_ready_labs_prints_every_node_in_every_format(tunlab, name):
    nodes = tomllib.loads(ready_labs()[name].read_text()).get("nodes", {"stack": {}})
    for options in ((), ("--mermaid",), ("--dot",), ("--svg",)):
        result = tunlab("graph", name, *options)
        assert (result.status, result.err) == (0, "")
        assert all(node in result.out for node in nodes)


def test_graph_with_write_option_selects_the_format_by_file_suffix(tunlab, tmp_path):
    for suffix, start in ((".svg", "<svg"), (".dot", "graph"), (".mmd", "graph")):
        file = tmp_path / f"x{suffix}"
        assert tunlab("graph", "router", "--write", str(file)) == (0, "", f"wrote {file}\n")
        assert file.read_text().lstrip().startswith((start, "flowchart"))
    file = tmp_path / "x.txt"
    tunlab("graph", "router", "--write", str(file))
    assert file.read_text() == tunlab("graph", "router").out


def test_graph_with_two_format_options_exits_2(tunlab):
    result = tunlab("graph", "router", "--svg", "--dot")
    assert (result.status, result.out) == (2, "")
    assert "--dot and --svg exclude each other. Give one of them." in result.err


def test_graph_with_write_option_to_missing_directory_exits_71(tunlab, tmp_path):
    result = tunlab("graph", "router", "--write", str(tmp_path / "no" / "x.svg"))
    assert (result.status, result.out) == (71, "")
    assert result.err.startswith(f"tunlab: write {tmp_path}/no/x.svg: No such file or directory (ENOENT)")
