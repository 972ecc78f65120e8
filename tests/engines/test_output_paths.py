"""Tests of the output paths in pytest's options. They need no engine."""

from pathlib import Path

import pytest

from tunlab.engines.suite_run.output_paths import addopts, outside_paths

ROOT = Path("/home/me/project")


@pytest.mark.parametrize(
    ("arguments", "paths"),
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
def test_paths_outside_the_project_are_found_in_pytest_output_options(arguments, paths):
    assert [str(path) for path in outside_paths(arguments.split(), ROOT / "tests", ROOT)] == paths


def test_pytest_addopts_variable_is_split_into_options():
    assert addopts({"PYTEST_ADDOPTS": "-q '--junitxml=/a b.xml'"}) == ["-q", "--junitxml=/a b.xml"]
    assert addopts({"PYTEST_ADDOPTS": "'"}) == addopts({}) == []
