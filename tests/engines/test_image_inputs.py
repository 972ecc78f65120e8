"""Tests of the inputs of a project's image. They need no engine."""

import pytest

from tunlab.engines.images.image_inputs import image_inputs

FILES = {
    "pyproject.toml": "",
    "requirements.txt": "-c limits/c.lst\n-r \\\n  more.lst  # and so on\nrequests>=2\n",
    "more.lst": "-r requirements.txt\n./wheels/own-1-py3-none-any.whl\n",
    "limits/c.lst": "it's no shell\nrequests<3\n",
    "unnamed.lst": "",
    "wheels/own-1-py3-none-any.whl": "",
    "src/own/__init__.py": "",
    "src/own/fast.c": "",
    "lib/other/pyproject.toml": '[project]\ndynamic = ["dependencies"]\n[tool.x]\nfiles = ["needs.in", "src"]\n',
    "lib/other/needs.in": "",
    "broken/pyproject.toml": "[",
    "requests/x.py": "",
    "tests/test_own.py": "",
}
ALWAYS = {
    "pyproject.toml", "requirements.txt", "lib/other/pyproject.toml", "lib/other/needs.in", "broken/pyproject.toml",
}  # fmt: skip
NAMED = {"more.lst", "limits/c.lst", "wheels/own-1-py3-none-any.whl"}


@pytest.fixture
def root(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.mark.parametrize(
    ("install", "expected"),
    [
        ("requests 'scapy>=2' --no-deps --index-url https://localhost/simple", set()),
        ("-e .", {"src/own/fast.c"}),
        ("--editable=.[test]", {"src/own/fast.c"}),
        ("-e./lib/other", {"src/own/fast.c"}),
        ("-r requirements.txt", NAMED),
        ("--requirement=requirements.txt", NAMED),
        ("-rmore.lst", NAMED),
        ("-c unnamed.lst requests", {"unnamed.lst"}),
        ("./wheels/own-1-py3-none-any.whl", {"wheels/own-1-py3-none-any.whl"}),
        ("-r not-there.txt", set()),
        ("-r /etc/hostname", set()),
        ("-e git+https://localhost/x.git", {"src/own/fast.c"}),
    ],
)
def test_image_inputs_without_local_install_are_requirements_and_compiled_files(root, install, expected):
    assert set(image_inputs(root, list(FILES), install)) == ALWAYS | expected


@pytest.mark.parametrize(
    "install",
    [
        ".",
        ".[test]",
        "./lib/other",
        "-e . ./lib/other",
        "file:.",
        "-f wheels own",
        "--find-links=./wheels own",
        "../outside",
    ],
)
def test_image_inputs_of_local_install_are_all_files(root, install):
    assert image_inputs(root, list(FILES), install) == sorted(FILES)
    absolute = " ".join(str(root) if word == "." else word for word in install.split())
    assert image_inputs(root, list(FILES), absolute) == sorted(FILES)


@pytest.mark.parametrize("line", [".", "./lib/other", "own @ file://{root}", "-f ../wheels"])
def test_image_inputs_of_requirements_file_with_local_path_are_all_files(root, line):
    (root / "limits" / "c.lst").write_text(line.format(root=root))
    assert image_inputs(root, list(FILES), "-r requirements.txt") == sorted(FILES)
