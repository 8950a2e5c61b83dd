import pickle
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from mindtrace.core import TaskSchema, bind_handler_factory, handlers


class Size(BaseModel):
    width: int = 1
    height: int = 2


class Area(BaseModel):
    area: int = 0


class DetectionSchema(TaskSchema):
    pass


class PresetSchema(TaskSchema):
    name: str = "preset"
    input_schema: type[BaseModel] | None = Size
    output_schema: type[BaseModel] | None = Area


class TypedSchema(TaskSchema):
    input: Size  # pyright: ignore[reportIncompatibleVariableOverride, reportGeneralTypeIssues]
    output: Area | None = None  # pyright: ignore[reportIncompatibleVariableOverride]


def test_the_newest_form_takes_model_classes() -> None:
    schema = TaskSchema(name="measure", input_schema=Size, output_schema=Area)

    assert (schema.input_schema, schema.output_schema) == (Size, Area)
    assert (schema.input, schema.output) == (Size, Area)
    assert schema.input_defaults == {}


def test_models_are_optional() -> None:
    schema = TaskSchema(name="measure")

    assert (schema.input_schema, schema.output_schema) == (None, None)
    assert (schema.input, schema.output) == (None, None)


def test_the_older_form_takes_classes_too() -> None:
    schema = TaskSchema(name="measure", input=Size, output=Area)

    assert (schema.input_schema, schema.output_schema) == (Size, Area)
    assert schema.input is Size


def test_an_instance_gives_its_class_and_its_values() -> None:
    size = Size(width=7)

    schema = TaskSchema(name="measure", input=size, output=Area())

    assert (schema.input_schema, schema.output_schema) == (Size, Area)
    assert schema.input is size
    assert schema.output == Area()
    assert schema.input_defaults == {"width": 7, "height": 2}


def test_the_defaults_are_a_fresh_dict_each_time() -> None:
    schema = TaskSchema(name="measure", input=Size())

    schema.input_defaults["width"] = 99

    assert schema.input_defaults["width"] == 1


def test_both_forms_may_be_mixed_between_input_and_output() -> None:
    schema = TaskSchema(name="measure", input=Size(width=3), output_schema=Area)

    assert (schema.input_schema, schema.output) == (Size, Area)


@pytest.mark.parametrize("side", ["input", "output"])
def test_both_forms_for_the_same_side_are_refused(side: str) -> None:
    with pytest.raises(ValueError, match=f"either {side}= or {side}_schema=, not both"):
        TaskSchema.model_validate({"name": "measure", side: Size, f"{side}_schema": Size})


def test_a_none_beside_a_model_counts_as_not_passed() -> None:
    assert TaskSchema(name="measure", input=None, input_schema=Size).input is Size
    assert TaskSchema(name="measure", input=Size, input_schema=None).input_schema is Size


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("input", 3, "input must be a pydantic model class or an instance of one, found int"),
        ("output", int, "output must be a pydantic model class or .*, found the class int"),
        ("input_schema", {}, "input_schema must be a pydantic model class, found dict"),
        ("output_schema", Area(), r"found Area \(an instance; pass output= instead\)"),
    ],
)
def test_what_is_no_model_is_refused_by_name(field: str, value: object, problem: str) -> None:
    with pytest.raises(ValidationError, match=problem):
        TaskSchema.model_validate({"name": "measure", field: value})


@pytest.mark.parametrize("given", [{}, {"name": ""}])
def test_a_plain_schema_needs_a_name(given: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="needs a name"):
        TaskSchema.model_validate(given)


def test_an_empty_name_is_refused_in_a_subclass_as_well() -> None:
    with pytest.raises(ValueError, match="needs a name"):
        DetectionSchema(name="")


def test_a_misspelt_keyword_is_refused() -> None:
    with pytest.raises(ValidationError, match="outptu"):
        TaskSchema.model_validate({"name": "measure", "outptu": Area})


@pytest.mark.parametrize("field", ["timeout", "result_ttl"])
@pytest.mark.parametrize("value", [0, -1, float("inf"), float("nan")])
def test_a_duration_is_positive_and_finite(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=field):
        TaskSchema.model_validate({"name": "measure", field: value})


def test_an_error_does_not_show_what_was_passed() -> None:
    with pytest.raises(ValidationError) as caught:
        TaskSchema.model_validate({"name": "measure", "input": "hush"})

    assert "hush" not in str(caught.value)


def test_a_subclass_is_named_after_its_class() -> None:
    schema = DetectionSchema(input=Size(width=4), output=None)

    assert (schema.name, schema.input_schema, schema.output_schema) == (
        "DetectionSchema",
        Size,
        None,
    )


def test_a_subclass_may_set_the_fields_itself() -> None:
    schema = PresetSchema()

    assert (schema.name, schema.input, schema.output) == ("preset", Size, Area)


def test_what_a_call_passes_wins_over_what_the_class_sets() -> None:
    schema = PresetSchema(name="other", input=Area(area=3), output=None)

    assert (schema.name, schema.input_schema, schema.output_schema) == ("other", Area, Area)
    assert schema.input_defaults == {"area": 3}


def test_a_subclass_may_set_the_older_fields_and_a_call_the_newer() -> None:
    class Older(TaskSchema):
        input: BaseModel | type[BaseModel] | None = Size(width=5)

    assert Older().input_defaults == {"width": 5, "height": 2}
    assert Older(input_schema=Area).input is Area


def test_a_subclass_may_declare_the_older_fields_with_types_of_its_own() -> None:
    schema = TypedSchema(input=Size(width=8))

    assert (schema.name, schema.input.width, schema.input_schema) == ("TypedSchema", 8, Size)
    assert schema.output_schema is None


def test_job_settings_are_carried() -> None:
    policy = object()

    schema = TaskSchema(name="a", retry=policy, timeout=2, keep_result=True, result_ttl=3.5)

    assert schema.retry is policy
    assert (schema.timeout, schema.keep_result, schema.result_ttl) == (2.0, True, 3.5)


def test_schemas_compare_by_content_and_hash_by_name() -> None:
    one, same = (TaskSchema(name="a", input=Size(width=2)) for _ in range(2))
    other = TaskSchema(name="a", input=Size(width=3))

    assert one == same
    assert one != other
    assert hash(one) == hash(same) == hash(other)
    assert len({one, same, other}) == 2


@pytest.mark.parametrize("schema", [PresetSchema(), TaskSchema(name="a", input=Size(width=9))])
def test_a_schema_survives_pickling_and_copying(schema: TaskSchema) -> None:
    for twin in (pickle.loads(pickle.dumps(schema)), schema.model_copy(deep=True)):
        assert twin == schema
        assert twin.input_defaults == schema.input_defaults


def test_a_dump_makes_the_same_schema_again() -> None:
    schema = TaskSchema(name="a", input=Size, output_schema=Area)

    assert TaskSchema(**schema.model_dump()) == schema


class Handled:
    def __init__(
        self, schema: TaskSchema, function: Callable[..., object], options: object
    ) -> None:
        self.facts = (schema, function, options)


def handle(schema: TaskSchema, function: Callable[..., object], options: dict[str, Any]) -> Handled:
    return Handled(schema, function, options)


def measure(size: Size) -> Area:
    return Area(area=size.width * size.height)


@pytest.fixture(autouse=True)
def nothing_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handlers, "_bound", [])


def test_a_bare_handler_is_made_by_the_bound_factory() -> None:
    bind_handler_factory(handle)
    schema = TaskSchema(name="measure", input_schema=Size)

    handler = schema.handler(measure)

    assert handler.facts == (schema, measure, {})


def test_a_handler_with_options_hands_them_on() -> None:
    bind_handler_factory(handle)
    schema = TaskSchema(name="measure", input_schema=Size)

    handler = schema.handler(timeout=3)(measure)

    assert handler.facts == (schema, measure, {"timeout": 3})


def test_the_factory_that_was_bound_last_is_used() -> None:
    bind_handler_factory(handle)
    bind_handler_factory(lambda schema, function, options: "last")

    assert TaskSchema(name="measure").handler(measure) == "last"


def test_a_handler_without_a_factory_says_what_to_install() -> None:
    schema = TaskSchema(name="measure")
    problem = r"pip install mindtrace-jobs, then import mindtrace\.jobs"

    with pytest.raises(ImportError, match=problem):
        schema.handler(measure)
    with pytest.raises(ImportError, match=problem):
        schema.handler(timeout=3)
