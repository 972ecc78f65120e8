"""Functions in messages: named ones by their name, lambdas by their source, of several on a line the right one."""

import functools
import linecache

from tunlab.traffic.naming import LONGEST, name_of


def even(number):
    return number % 2 == 0


ONE = lambda packet: packet.ip.ttl > 1  # noqa: E731
SEVERAL = {"left": lambda n: n > 1, "right": lambda n: n > 2}
NESTED = lambda packets: any(each > 3 for each in packets)  # noqa: E731


def over_lines():
    return (
        lambda packet: packet.identification == 1111111111
        and packet.is_fragment
    )  # fmt: skip


def test_names():
    assert name_of(even) == "even"
    assert name_of(int) == "int"
    assert name_of(functools.partial(even, 2)).startswith("functools.partial(<function even")


def test_a_lambda_is_its_source():
    assert name_of(ONE) == "lambda packet: packet.ip.ttl > 1"
    assert name_of(over_lines()) == "lambda packet: packet.identification == 1111111111 and packet.is_fragment"
    assert name_of(NESTED) == "lambda packets: any(each > 3 for each in packets)"


def test_of_several_on_a_line_each_is_its_own():
    assert {side: name_of(function) for side, function in SEVERAL.items()} == {
        "left": "lambda n: n > 1",
        "right": "lambda n: n > 2",
    }


def test_two_that_are_the_same_to_the_letter_and_one_in_another():
    first, second = lambda n: n, lambda n: n
    outer = lambda n: lambda m: m + n  # noqa: E731
    assert name_of(first) == name_of(second) == "lambda n: n"
    assert name_of(outer) == "lambda n: lambda m: m + n"
    assert name_of(outer(1)) == "lambda m: m + n"


def test_a_long_one_is_cut():
    long = lambda n: n + 1111111111 + 2222222222 + 3333333333 + 4444444444 + 5555555555 + 6666666666 + 77777  # noqa: E731
    assert name_of(long).endswith("…")
    assert len(name_of(long)) == LONGEST


def test_without_its_source_it_is_called_what_python_calls_it():
    assert name_of(eval("lambda n: n")) == "<lambda>"
    linecache.cache["gone.py"] = (1, None, ["lambda (\n"], "gone.py")
    try:
        assert name_of(eval(compile("lambda n: n", "gone.py", "eval"))) == "<lambda>"
    finally:
        del linecache.cache["gone.py"]
