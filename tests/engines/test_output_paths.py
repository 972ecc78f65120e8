"""What is carried back from outside the project, without any engine."""

from pathlib import Path

import pytest

from tunlab.engines.suite_run.output_paths import added, outside

ROOT = Path("/home/me/project")


@pytest.mark.parametrize(
    ("arguments", "places"),
    [
        ("-q --junitxml=/out/junit.xml", ["/out/junit.xml"]),
        ("--junitxml /out/junit.xml test_it.py", ["/out/junit.xml"]),
        ("--junitxml=../../up.xml --junitxml=junit.xml", ["/home/me/up.xml"]),
        ("--cov-report=html:/out/html --cov-report xml:/out/cov.xml --cov-report=term", ["/out/html", "/out/cov.xml"]),
        ("--cov-report=html --cov-report=lcov:below/lcov.info", []),
        ("-o log_file=/out/log --override-ini=tunlab_record_dir=/out/records", ["/out/log", "/out/records"]),
        ("-olog_file=/out/log -o addopts=--junitxml=/not/this --override-ini", ["/out/log"]),
        ("--html=/out/it --html=/out/it", ["/out/it"]),
        ("--rootdir=/etc -k /etc --junitxml", []),
    ],
)
def test_what_options_name(arguments, places):
    assert [str(place) for place in outside(arguments.split(), ROOT / "tests", ROOT)] == places


def test_what_the_environment_adds():
    assert added({"PYTEST_ADDOPTS": "-q '--junitxml=/a b.xml'"}) == ["-q", "--junitxml=/a b.xml"]
    assert added({"PYTEST_ADDOPTS": "'"}) == added({}) == []
