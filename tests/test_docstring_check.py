"""Tests of `.ci/check_docstrings.py`, a lint rule of `make lint`."""

import subprocess
import sys
from pathlib import Path

import pytest

CHECK = Path(__file__).parents[1] / ".ci" / "check_docstrings.py"
ENTRIES = '''
class Capture:
    """A capture.

    Attributes:
        path: %s
    """

    def read(self, *ports, **options):
        """Read packets.

        Args:
            *ports: %s
                nothing here: a line that continues an entry may begin with any word.
            **options (dict): %s

        Returns:
            %s

        Raises:
            ValueError: %s

        Whether a paragraph after the sections begins with such a word does not matter.
        """
'''


@pytest.fixture
def check(tmp_path):
    """Return a function that checks a Python file with the given text, and returns the status and the problems."""

    def run(source):
        file = tmp_path / "module.py"
        file.write_text(source, encoding="utf-8")
        done = subprocess.run([sys.executable, CHECK, tmp_path], capture_output=True, text=True, check=False)
        assert done.stderr == ""
        return done.returncode, [line.removeprefix(f"{file}:") for line in done.stdout.splitlines()]

    return run


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("What it is.", "What"),
        ("what it is.", "what"),
        ("WHERE it is.", "WHERE"),
        ("What's in the packet.", "What"),
        ("What—or who.", "What"),
        ("Nothing!", "Nothing"),
        ("Whether?", "Whether"),
        ("`What` it is.", "What"),
        ("(Nothing is returned.)", "Nothing"),
        ("**As** given.", "As"),
        ("\\n    Those that match.", "Those"),
        ("Of the device.", "Of"),
    ],
)
def test_docstring_with_forbidden_first_word_is_reported(check, text, word):
    status, problems = check(f'def name():\n    """{text}"""\n')
    assert status == 1
    assert problems == [f"2: a docstring opens with {word!r}. Start with a verb or a noun."]


@pytest.mark.parametrize("text", ["Return what it is.", "Assert.", "`as_bytes` returns bytes.", "Office hours.", "…"])
def test_docstring_with_allowed_first_word_passes(check, text):
    assert check(f'def name():\n    """{text}"""\n') == (0, [])


@pytest.mark.parametrize("text", ['""""""', '""', '"""   """', '"""\n    """'])
def test_empty_docstring_is_reported(check, text):
    assert check(f"def name():\n    {text}\n") == (
        1,
        ["2: a docstring is empty. Write one sentence, or remove it."],
    )


@pytest.mark.parametrize(
    "source",
    [
        'if True:\n    SIZE = 1\n    """What fits."""\n',
        'if True:\n    pass\nelse:\n    SIZE: int = 1\n    """What fits."""\n',
        'try:\n    SIZE = 1\n    """What fits."""\nfinally:\n    pass\n',
        'try:\n    pass\nexcept OSError:\n    SIZE = 1\n    """What fits."""\n',
        'class Capture:\n    size = 1\n    """What fits."""\n',
    ],
)
def test_docstring_of_constant_in_block_is_reported(check, source):
    status, problems = check(source)
    assert status == 1
    assert [problem.partition(": ")[2] for problem in problems] == [
        "a docstring opens with 'What'. Start with a verb or a noun."
    ]


def test_entries_of_sections_with_forbidden_first_word_are_reported(check):
    status, problems = check(
        ENTRIES % ("Where it is.", "those of TCP.", "`As` given.", "dict: What is read.", "of it.")
    )
    assert status == 1
    assert problems == [
        f"{line}: an entry of a docstring opens with {word!r}. Start with a verb or a noun."
        for line, word in [(6, "Where"), (13, "those"), (15, "As"), (18, "What"), (21, "of")]
    ]


def test_entries_of_sections_with_allowed_first_word_pass(check):
    assert check(ENTRIES % ("The file.", "Ports.", "Settings.", "The packets.", "If a port is not a number.")) == (
        0,
        [],
    )
