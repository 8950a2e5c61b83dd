# Type checkers know only the keyword form of a model: pydantic tells them so.
# pyright: reportCallIssue=false
import pytest
from pydantic import Field, ValidationError

from mindtrace.core import PositionalModel


class Point(PositionalModel):
    x: int
    y: int = 0


class Single(PositionalModel):
    value: int = 1


class Renamed(PositionalModel):
    x: int = Field(alias="eks")


class Nothing(PositionalModel):
    pass


def test_values_go_to_the_fields_in_their_order() -> None:
    assert Point(1, 2) == Point(1, y=2) == Point(x=1, y=2)


def test_values_are_validated_as_in_any_model() -> None:
    with pytest.raises(ValidationError, match="y"):
        Point(1, "two")
    with pytest.raises(ValidationError, match="x"):
        Point()


def test_an_inherited_field_comes_first() -> None:
    class Point3(Point):
        z: int = 0

    assert Point3(1, 2, 3).model_dump() == {"x": 1, "y": 2, "z": 3}


def test_a_field_with_an_alias_is_reached_by_position() -> None:
    assert Renamed(3).x == 3


def test_a_model_reads_back_what_it_wrote() -> None:
    point = Point(1, 2)

    assert Point.model_validate_json(point.model_dump_json()) == point


@pytest.mark.parametrize(
    ("model", "count", "problem"),
    [
        (Point, 3, r"Point\(\) takes 2 positional arguments but 3 were given"),
        (Single, 2, r"Single\(\) takes 1 positional argument but 2 were given"),
        (Nothing, 1, r"Nothing\(\) takes 0 positional arguments but 1 was given"),
    ],
)
def test_too_many_values_are_refused_as_by_a_function(
    model: type[PositionalModel], count: int, problem: str
) -> None:
    with pytest.raises(TypeError, match=problem):
        model(*range(count))


def test_a_field_given_twice_is_refused_as_by_a_function() -> None:
    with pytest.raises(TypeError, match=r"Point\(\) got multiple values for argument 'x'"):
        Point(1, x=2)
    with pytest.raises(TypeError, match=r"Renamed\(\) got multiple values for argument 'x'"):
        Renamed(1, eks=2)
