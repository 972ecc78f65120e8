"""Quantities such as "20ms" and "10mbit" in lab files. Invalid ones are tested with lab_file_errors.md."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.topology.strategies import sampled
from tunlab.topology.values import units


@pytest.mark.parametrize(
    ("text", "microseconds"),
    [
        ("20ms", 20_000),
        ("1.5s", 1_500_000),
        ("100us", 100),
        ("7 µs", 7),
        (".5MS", 500),
        ("2min", 120_000_000),
        ("0s", 0),
    ],
)
def test_parsed_duration_is_in_microseconds(text, microseconds):
    assert units.duration(text) == microseconds


@pytest.mark.parametrize(
    ("text", "bits"),
    [("10mbit", 10_000_000), ("1gbit", 10**9), ("500kbit", 500_000), ("2.5Mbit", 2_500_000), ("8bit", 8)],
)
def test_parsed_rate_is_in_bits_per_second(text, bits):
    assert units.rate(text) == bits


@pytest.mark.parametrize(
    ("value", "share"), [("1%", 0.01), (0.01, 0.01), ("0.1 %", 0.001), ("100%", 1.0), (0, 0.0), (1.0, 1.0)]
)
def test_parsed_percentage_is_a_number_from_zero_to_one(value, share):
    assert units.share(value) == share


def test_parsed_seconds_are_a_float():
    assert units.seconds("1.5s") == 1.5


@given(st.integers(0, 10**9), st.sampled_from([("us", 1), ("ms", 1000), ("s", 1_000_000)]))
@sampled(50)
def test_parsed_random_duration_is_in_microseconds(number, unit):
    assert units.duration(f"{number}{unit[0]}") == number * unit[1]
