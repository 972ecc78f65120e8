"""The JSON schema of lab files: it has every key, accepts valid lab files and rejects most invalid ones."""

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
from tunlab.topology.lab_file.node_table import NODE_KEYS
from tunlab.topology.lab_file.schema import schema, schema_text
from tunlab.topology.spec import LabSpec

LABS = Path(__file__).parents[2] / "lab"
VALIDATOR = jsonschema.Draft7Validator(schema())

# The schema accepts these invalid cases of lab_file_errors.md, because it cannot compare values with each other.
ACCEPTED_BY_SCHEMA = {
    "incomplete TOML",
    "duplicate key",
    "links to unknown nodes",
    "duplicate interface name",
    "address outside the link's subnet",
    "address with another prefix length than the link's subnet",
    "duplicate address",
    "network and broadcast addresses",
    "overlapping subnets",
    "loopback address in a link's subnet",
    "subnet with too few addresses",
    "NAT router with an ambiguous outside",
    "NAT router with an unknown or missing outside",
    "routes with an unknown next hop",
    "duplicate MAC address",
    "MAC address that equals another end's default",
    "keys that do not apply to a switch",
    "switches in a loop",
    "addresses of an IP version that the lab does not use",
    "address pool smaller than one subnet",
    "address pool without free subnets",
    "node with the name of an added bridge",
    "IPv4 subnet and small MTU in an IPv6 lab",
    "different subnets on links of one switch",
    "subnet that contains several others",
    "container used for two nodes",
    "NAT router with two links to its outside",
    "TUN keys of a node without a TUN",
}


def test_lab_schema_json_equals_the_generated_schema():
    assert (LABS / "lab.schema.json").read_text() == schema_text()


def test_tunlab_check_with_schema_option_prints_the_schema():
    command = [sys.executable, "-m", "tunlab", "check", "--schema"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == schema_text()


def test_schema_is_valid_json_schema_draft_7():
    jsonschema.Draft7Validator.check_schema(schema())


def test_schema_has_every_key_of_a_lab_file():
    definitions = schema()["definitions"]
    assert set(schema()["properties"]) == set(LabSpec.__struct_fields__)
    assert set(definitions["node"]["properties"]) == set(NODE_KEYS)
    assert set(definitions["link"]["properties"]) == set(LINK_KEYS)
    (end,) = (each for each in definitions["link"]["properties"]["ends"]["items"]["anyOf"] if "properties" in each)
    assert set(end["properties"]) == set(END_KEYS)


@pytest.mark.parametrize("file", sorted(LABS.glob("*.toml")), ids=lambda file: file.stem)
def test_ready_labs_match_the_schema(file):
    assert file.read_text().startswith("#:schema ./lab.schema.json\n")
    VALIDATOR.validate(tomllib.loads(file.read_text()))


@pytest.mark.parametrize(("title", "text"), [case[:2] for case in CASES], ids=[case[0] for case in CASES])
def test_schema_rejects_invalid_lab_files(title, text):
    try:
        accepted = VALIDATOR.is_valid(tomllib.loads(text))
    except tomllib.TOMLDecodeError:  # text that is not TOML never reaches the schema
        accepted = True
    assert accepted == (title in ACCEPTED_BY_SCHEMA)


def test_exceptions_to_schema_test_are_titles_in_the_case_file():
    assert {title for title, _, _ in CASES} >= ACCEPTED_BY_SCHEMA


@given(labs())
@sampled(50)
def test_schema_accepts_random_labs(lab):
    VALIDATOR.validate(tomllib.loads(lab.text))
