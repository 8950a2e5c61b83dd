from itertools import chain, count, repeat

import pytest

from mindtrace.core import first_not_none, ifnone, named_lambda


@pytest.mark.parametrize("value", [0, "", False, [], 5])
def test_a_value_that_is_not_none_stands(value: object) -> None:
    assert ifnone(value, "default") is value


def test_none_gives_the_default() -> None:
    assert ifnone(None, "default") == "default"


def test_the_first_value_is_found_even_in_an_endless_row() -> None:
    assert first_not_none(chain(repeat(None, 3), count())) == 0


def test_a_row_without_values_gives_the_default() -> None:
    assert first_not_none([None, None], default=4) == 4
    assert first_not_none(list[int | None]()) is None


def test_a_function_takes_a_name() -> None:
    def anonymous(number: int) -> int:
        return number * 2

    double = named_lambda("double", anonymous)

    assert (double.__name__, double.__qualname__, double(4)) == ("double", "double", 8)
