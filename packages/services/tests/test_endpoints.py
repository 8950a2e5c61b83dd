from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from services_support import Found, Pair, Search, Sum

from mindtrace.core import TaskSchema
from mindtrace.services import Service, endpoint
from mindtrace.services.endpoints import Endpoint, make_endpoint, name_of

ADD = TaskSchema(name="add", input_schema=Pair, output_schema=Sum)


def add(pair: Pair) -> Sum:
    """Add."""
    return Sum(total=pair.a + pair.b)


def nothing() -> None:
    pass


class Adding:
    async def __call__(self, pair: Pair) -> Sum:
        return add(pair)


def made(service: type[Service]) -> dict[str, Endpoint]:
    return {each.name: each for each in service().table}


# paths


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("echo", "echo"),
        ("/echo", "echo"),
        ("/echo/", "echo"),
        ("/jobs/list", "jobs_list"),
        ("/jobs-list.v2", "jobs_list_v2"),
        ("/import", "import_"),
        ("/a/b/c/d", "a_b_c_d"),
        ("/.well-known/x", "well_known_x"),
    ],
)
def test_the_name_of_a_method_is_made_of_the_words_of_its_path(path: str, name: str) -> None:
    assert name_of(path) == name


NO_WORDS = ["/", "//", "/2fa", "/a//b", "/a/{id}", "/a?b", "/a#b", "/ä", "/%65cho", "/-", ""]
NO_SEGMENTS = ["/../a", "/./a", "/a/..", "/a\\b", "/a b", "/a\n"]


@pytest.mark.parametrize("path", [*NO_WORDS, *NO_SEGMENTS])
def test_what_is_no_path_of_words_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="is no path of an endpoint") as caught:
        make_endpoint(path, nothing)

    assert repr(path) in str(caught.value)


# schemas, functions, methods


def test_annotations_are_the_schema_unless_one_is_given() -> None:
    read = make_endpoint("/add", add)
    given = make_endpoint("/add", partial(add), ADD)

    for each in (read, given):
        assert (each.schema.input_schema, each.schema.output_schema) == (Pair, Sum)
        assert (each.methods, each.scope, each.repeatable) == (("POST",), "api", False)
        assert each.has_body
        assert each.takes_input()


def test_endpoints_without_input_or_output_are_fine() -> None:
    schema = make_endpoint("/nothing", nothing).schema

    assert (schema.input_schema, schema.output_schema) == (None, None)


def test_anything_goes_where_the_schema_says_so() -> None:
    def anything(payload: Any) -> dict[str, int]: ...

    schema = make_endpoint("/anything", anything).schema

    assert (schema.input_schema, schema.output_schema) == (None, None)


@pytest.mark.parametrize(
    ("function", "is_async"),
    [(add, False), (Adding().__call__, True), (Adding(), True), (partial(Adding().__call__), True)],
)
def test_what_gives_a_coroutine_is_known(function: Any, is_async: bool) -> None:
    assert make_endpoint("/add", function, ADD).is_async() is is_async


def unresolved(pair: "Missing") -> None: ...  # noqa: F821, UP037  # pyright: ignore[reportUndefinedVariable]


def number(pair: int) -> None: ...


def numbers() -> list[int]: ...


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (unresolved, "the annotations cannot be read.*pass schema="),
        (partial(add), "the annotations cannot be read.*pass schema="),
        (number, r"<class 'int'> is no Pydantic model class"),
        (numbers, r"list\[int\] is no Pydantic model class"),
    ],
)
def test_annotations_that_are_no_schema_are_named(function: Any, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        make_endpoint("/x", function)


def two(a: Pair, b: Pair) -> None: ...


def also(pair: Pair, *, more: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "schema", "reason"),
    [
        (nothing, ADD, "takes 0 arguments; it has to take one, the Pair"),
        (two, ADD, "takes 2 arguments; it has to take one, the Pair"),
        (two, TaskSchema(name="x"), "takes 2 arguments; it has to take none, or one"),
        (also, ADD, "nobody gives the function its keyword 'more'"),
    ],
)
def test_a_function_has_to_go_with_the_schema(
    function: Any, schema: TaskSchema, reason: str
) -> None:
    with pytest.raises(ValueError, match=reason):
        make_endpoint("/x", function, schema)


def test_a_keyword_with_a_default_is_left_to_it() -> None:
    def defaulted(pair: Pair, *, more: int = 1) -> Sum: ...

    assert make_endpoint("/x", defaulted).takes_input()


@pytest.mark.parametrize(
    ("methods", "repeatable"),
    [
        (["get"], True),
        (["GET", "HEAD"], True),
        (["DELETE"], False),
        (["PUT"], False),
        (["POST", "GET"], False),
    ],
)
def test_what_may_be_repeated_is_as_http_has_it(methods: list[str], repeatable: bool) -> None:
    assert make_endpoint("/x", nothing, methods=methods).repeatable is repeatable
    assert make_endpoint("/x", nothing, methods=methods, repeatable=True).repeatable


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({"methods": ["FETCH"]}, "FETCH is no HTTP method; expected one of"),
        ({"methods": "GET"}, "methods has to be a list such as"),
        ({"scope": "public"}, "'public' is no scope; expected one of"),
        ({"methods": ["GET", "POST"]}, "carry the input in different places"),
    ],
)
def test_what_an_endpoint_cannot_be_is_named(said: dict[str, Any], reason: str) -> None:
    with pytest.raises(ValueError, match=f"/x: .*{reason}"):
        make_endpoint("/x", add, **said)


def test_a_query_string_needs_a_model() -> None:
    def anything(payload: Any) -> None: ...

    with pytest.raises(ValueError, match="the query string needs an input model"):
        make_endpoint("/x", anything, methods=["GET"])


# declared endpoints


class Base(Service):
    @endpoint("/find", methods=["GET"], scope="admin", repeatable=False)
    def find(self, search: Search) -> Found:
        """Find."""
        return Found(**search.model_dump())

    @endpoint("/add", schema=ADD)
    def add(self, pair):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return add(pair)

    @endpoint("/static")
    @staticmethod
    def static(pair: Pair) -> Sum:
        return add(pair)


class Wider(Search):
    more: int = 0


class Child(Base):
    def find(self, search):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
        return super().find(search)

    @endpoint("/added", methods=["PUT"])
    def add(self, pair: Pair) -> Sum:
        return add(pair)

    static = None  # type: ignore[assignment]


class Grandchild(Child):
    def find(self, search: Wider) -> Found:  # type: ignore[override]
        return Found(**search.model_dump(exclude={"more"}))


def test_a_declared_endpoint_is_what_the_decorator_says() -> None:
    table = made(Base)

    find, adding, static = table["find"], table["add"], table["static"]
    assert (find.path, find.methods, find.scope, find.repeatable) == (
        "/find",
        ("GET",),
        "admin",
        False,
    )
    assert (find.schema.input_schema, find.schema.output_schema) == (Search, Found)
    assert adding.schema is ADD
    assert static.function(Pair(a=1, b=2)) == Sum(total=3)


def test_a_method_that_replaces_an_endpoint_stays_one() -> None:
    table = made(Child)

    assert table["find"].schema.input_schema is Search
    assert table["find"].methods == ("GET",)
    assert table["added"].methods == ("PUT",)
    assert "add" not in table
    assert "static" not in table
    assert made(Grandchild)["find"].schema.input_schema is Wider


def test_what_answers_any_question_is_no_endpoint() -> None:
    class Yes:
        def __getattr__(self, name: str) -> object:
            return name

    class Odd(Service):
        yes = Yes()

    assert set(made(Odd)) == set(made(Service))
