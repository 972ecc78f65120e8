"""The published schema: true of every ready lab, known to the code key by key, and against what no file can say."""

import subprocess
import sys
import tomllib
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given

from tests.topology.strategies import labs, sampled
from tests.topology.test_lab_file_errors import CASES
from tunlab.topology.lab_file.link_table import END_KEYS, LINK_KEYS
from tunlab.topology.lab_file.schema import schema, schema_text
from tunlab.topology.spec import LabSpec, NodeSpec

LABS = Path(__file__).parents[2] / "lab"
VALIDATOR = jsonschema.Draft7Validator(schema())

# What only the whole file shows, or only the code can tell; all other cases the schema refuses as well.
BEYOND = {
    "TOML that ends too early", "a key twice", "unknown nodes",
    "a name of an interface twice", "an address outside its subnet", "an address of another subnet",
    "an address twice", "addresses that stand for others", "overlapping subnets", "a loopback in a subnet",
    "a subnet too small", "a NAT router without an outside", "a NAT router with an unknown outside",
    "routes over nobody", "a hardware address twice", "a hardware address that another end has by itself",
    "what a switch has not", "switches in a circle", "families that the lab does not speak", "a pool too small",
    "a pool that is used up", "the name of a bridge", "what IPv6 asks for", "two subnets on one switch",
    "several subnets in one", "one container as two nodes",
    "a NAT router with two links to its outside", "what is said of a TUN that is not there",
}  # fmt: skip


def test_schema_file_is_current():
    assert (LABS / "lab.schema.json").read_text() == schema_text()


def test_check_schema_prints_the_file():
    command = [sys.executable, "-m", "tunlab", "check", "--schema"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == schema_text()


def test_schema_is_valid_draft_7():
    jsonschema.Draft7Validator.check_schema(schema())


def test_schema_has_every_key():
    definitions = schema()["definitions"]
    assert set(schema()["properties"]) == set(LabSpec.__struct_fields__)
    assert set(definitions["node"]["properties"]) == set(NodeSpec.__struct_fields__)
    assert set(definitions["link"]["properties"]) == set(LINK_KEYS)
    (end,) = (each for each in definitions["link"]["properties"]["ends"]["items"]["anyOf"] if "properties" in each)
    assert set(end["properties"]) == set(END_KEYS)


@pytest.mark.parametrize("file", sorted(LABS.glob("*.toml")), ids=lambda file: file.stem)
def test_ready_labs_match_the_schema(file):
    assert file.read_text().startswith("#:schema ./lab.schema.json\n")
    VALIDATOR.validate(tomllib.loads(file.read_text()))


@pytest.mark.parametrize(("title", "text", "said"), CASES, ids=[title for title, _, _ in CASES])
def test_schema_rejects_invalid_lab_files(title, text, said):
    try:
        valid = VALIDATOR.is_valid(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        valid = True
    assert valid == (title in BEYOND)


def test_errors_beyond_the_schema_are_listed():
    assert {title for title, _, _ in CASES} >= BEYOND


@given(labs())
@sampled(50)
def test_schema_accepts_random_labs(lab):
    VALIDATOR.validate(tomllib.loads(lab.text))
