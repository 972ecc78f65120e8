"""Names of functions in failure messages; a lambda is shown as its source code."""

import functools
import linecache

from tunlab.traffic.function_names import MAX_LENGTH, function_name


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


def test_function_name_of_a_named_function_is_that_name():
    assert function_name(even) == "even"
    assert function_name(int) == "int"
    assert function_name(functools.partial(even, 2)).startswith("functools.partial(<function even")


def test_function_name_of_a_lambda_is_its_source_code():
    assert function_name(ONE) == "lambda packet: packet.ip.ttl > 1"
    assert function_name(over_lines()) == "lambda packet: packet.identification == 1111111111 and packet.is_fragment"
    assert function_name(NESTED) == "lambda packets: any(each > 3 for each in packets)"


def test_function_names_of_two_lambdas_on_one_line_are_different():
    assert {side: function_name(function) for side, function in SEVERAL.items()} == {
        "left": "lambda n: n > 1",
        "right": "lambda n: n > 2",
    }


def test_function_name_of_identical_or_nested_lambda_is_its_source_code():
    first, second = lambda n: n, lambda n: n
    outer = lambda n: lambda m: m + n  # noqa: E731
    assert function_name(first) == function_name(second) == "lambda n: n"
    assert function_name(outer) == "lambda n: lambda m: m + n"
    assert function_name(outer(1)) == "lambda m: m + n"


def test_function_name_of_a_long_lambda_is_shortened():
    long = lambda n: n + 1111111111 + 2222222222 + 3333333333 + 4444444444 + 5555555555 + 6666666666 + 77777  # noqa: E731
    assert function_name(long).endswith("…")
    assert len(function_name(long)) == MAX_LENGTH


def test_function_name_of_a_lambda_without_source_is_lambda_in_angle_brackets():
    assert function_name(eval("lambda n: n")) == "<lambda>"
    linecache.cache["gone.py"] = (1, None, ["lambda (\n"], "gone.py")
    try:
        assert function_name(eval(compile("lambda n: n", "gone.py", "eval"))) == "<lambda>"
    finally:
        del linecache.cache["gone.py"]
