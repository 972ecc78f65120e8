"""What an image with a project's needs hangs on, without any engine."""

import shlex

import pytest

from tunlab.engines.images.image_inputs import decisive

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
    ("said", "more"),
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
        ("-r /etc/hostname ../outside", set()),
        ("-e git+https://localhost/x.git", set()),
    ],
)
def test_what_is_installed_so_that_the_code_is_used_where_it_is(root, said, more):
    assert set(decisive(root, list(FILES), shlex.split(said))) == ALWAYS | more


@pytest.mark.parametrize(
    "said",
    [".", ".[test]", "./lib/other", "-e . ./lib/other", "file:.", "-f wheels own", "--find-links=./wheels own"],
)
def test_of_what_is_copied_into_the_image_everything(root, said):
    assert decisive(root, list(FILES), shlex.split(said)) == sorted(FILES)
    absolute = [str(root) if word == "." else word for word in shlex.split(said)]
    assert decisive(root, list(FILES), absolute) == sorted(FILES)


@pytest.mark.parametrize("line", [".", "./lib/other", "own @ file://{root}", "-f ../wheels"])
def test_a_file_of_requirements_may_say_so_too(root, line):
    (root / "limits" / "c.lst").write_text(line.format(root=root))
    assert decisive(root, list(FILES), ["-r", "requirements.txt"]) == sorted(FILES)
