"""Errors in lab files, reported all at once with file, table and key. The cases are in lab_file_errors.md."""

import pickle
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.topology.strategies import sampled
from tunlab.errors import Problem, TopologyError
from tunlab.topology import LabSpec, parse_lab, plan
from tunlab.topology.lab_file.link_table import END_KEYS, LINK_KEYS
from tunlab.topology.lab_file.node_table import KINDS
from tunlab.topology.lab_file.reader import parse_tables
from tunlab.topology.spec import EndSpec, LinkSpec, NodeSpec

CASES = re.findall(
    r"^## ([^\n]+)\n\n```toml\n(.+?)\n```\n\n```text\n(.+?)\n```$",
    (Path(__file__).parent / "lab_file_errors.md").read_text(),
    re.MULTILINE | re.DOTALL,
)


@pytest.mark.parametrize(("text", "message"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_error_of_parse_lab_lists_every_mistake_in_the_file(text, message):
    with pytest.raises(TopologyError) as caught:
        parse_lab(text, "x.toml")
    assert str(caught.value) == message


def test_every_heading_in_lab_file_errors_md_has_a_complete_case():
    assert len(CASES) == (Path(__file__).parent / "lab_file_errors.md").read_text().count("\n## ") > 40


def test_topology_error_has_file_table_key_and_hint_of_each_problem():
    with pytest.raises(TopologyError) as caught:
        parse_lab("[nodes]\na = { mut = 1 }\n[[links]]\nends = ['a', 'c']", "x.toml")
    error = caught.value
    assert error.problems == (
        Problem("is not a known key", "x.toml", "nodes.a", "mut", "Did you mean mtu?"),
        Problem("is 'c', which is not a node of the lab", "x.toml", "links[0]", "ends[1]", "Choose from a."),
    )
    assert (error.problem, error.table, error.key, error.exit_code) == ("is not a known key", "nodes.a", "mut", 78)
    unpickled = pickle.loads(pickle.dumps(error))
    assert (str(unpickled), unpickled.problems) == (str(error), error.problems)


def test_link_to_unknown_node_causes_no_further_errors_in_routes_or_nat():
    text = """
        [nodes]
        a = { routes = [{ to = "default", via = "10.0.1.2" }] }
        n = { kind = "nat", outside = "b" }
        [[links]]
        ends = ["a", "nobody"]
    """
    with pytest.raises(TopologyError) as caught:
        parse_lab(text)
    assert [each.key for each in caught.value.problems] == ["ends[1]"]


def test_plan_of_an_invalid_spec_built_in_code_raises_topology_error():
    ends = (EndSpec(node="a", address="10.0.1.1/24"), EndSpec(node="b", address="10.0.1.1/24"))
    spec = LabSpec("x", {"a": NodeSpec(), "b": NodeSpec()}, (LinkSpec(ends=ends),))
    with pytest.raises(TopologyError, match=r"^`links\[0\]\.ends\[1\]\.address` is 10\.0\.1\.1, which a already has"):
        plan(spec)


# ---- random documents -----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    ["a", "b", "a:eth0", "10.0.1.1/24", "10.0.1.0/24", "10.0.1.1", "fd00::1/64", "20ms", "1%", "10mbit", "default",
     "ipv6", "both", "02:00:00:00:01:01", "", "x\0", "net.ipv4.x", "/etc/x", "🐟", *KINDS]
)  # fmt: skip
KEYS = sorted({*NodeSpec.__struct_fields__, *END_KEYS, *LINK_KEYS, "to", "via", "command", "ready", "port", "line"})
LEAVES = st.one_of(WORDS, st.booleans(), st.integers(), st.floats(), st.text("ab:./ -1\0é", max_size=5))
INNER = st.one_of(LEAVES, st.dictionaries(st.one_of(st.sampled_from(KEYS), WORDS), LEAVES, max_size=3))
VALUES = st.one_of(INNER, st.lists(INNER, max_size=3))
TABLES = st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4)
DOCUMENTS = st.one_of(
    st.dictionaries(st.sampled_from(LabSpec.__struct_fields__), VALUES),
    st.fixed_dictionaries(
        {"nodes": st.dictionaries(WORDS, TABLES, max_size=3)},
        optional={"links": st.lists(TABLES, max_size=3), "ip": WORDS, "subnets": WORDS, "name": WORDS},
    ),
)


@given(DOCUMENTS)
@sampled(500)
def test_parse_tables_of_a_random_document_succeeds_or_raises_topology_error(document):
    try:
        spec = parse_tables(document, "x.toml")
    except TopologyError as caught:
        problems = caught.problems
    else:
        problems = ()
        plan(spec)
    assert all(each.problem and each.file == "x.toml" for each in problems)
    assert len(set(problems)) == len(problems)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = " + "[" * 2000 + "]" * 2000, "x.toml: has too many levels of lists or tables. Nest them less deeply."),
        ("x = " + "9" * 5000, "x.toml: has a number with too many digits. Write a shorter number."),
    ],
    ids=["depth", "digits"],
)
def test_parse_lab_beyond_a_limit_of_python_raises_topology_error(text, message):
    with pytest.raises(TopologyError) as caught:
        parse_lab(text, "x.toml")
    assert str(caught.value) == message
