"""`TaskSchema`: the name of a task and the models of what goes in and comes out.

Core knows nothing of queues: `TaskSchema.handler` builds its result through `handlers.py`.
"""

from collections.abc import Callable
from typing import Annotated, Any, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PlainValidator,
    ValidationInfo,
    model_validator,
)

from mindtrace.core.handlers import bound_handler_factory


def _is_model_class(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, BaseModel)


def _found(value: object) -> str:
    return f"the class {value.__name__}" if isinstance(value, type) else type(value).__name__


def _model_class(value: object, info: ValidationInfo) -> object:
    if value is None or _is_model_class(value):
        return value
    message = f"{info.field_name} must be a pydantic model class, found {_found(value)}"
    if isinstance(value, BaseModel):
        message += f" (an instance; pass {str(info.field_name).removesuffix('_schema')}= instead)"
    raise ValueError(message)


def _model_class_or_instance(value: object, info: ValidationInfo) -> object:
    if value is None or isinstance(value, BaseModel) or _is_model_class(value):
        return value
    message = (
        f"{info.field_name} must be a pydantic model class or an instance of one, "
        f"found {_found(value)}"
    )
    raise ValueError(message)


ModelType = Annotated[type[BaseModel] | None, PlainValidator(_model_class)]
ModelOrType = Annotated[
    BaseModel | type[BaseModel] | None, PlainValidator(_model_class_or_instance)
]


class TaskSchema(BaseModel):
    """Names a task and states which models go in and come out.

    Give the models as `input_schema=` and `output_schema=`, or in the older form as `input=` and
    `output=`, where each may also be an instance: then its class is the schema and its values are
    the defaults of a job. All four can be read afterwards, whichever form was used: `input` is
    the instance if one was given, else the class.

    A subclass may set any of the fields as defaults; without a name it is named after its class.
    What a call passes wins over what the class sets; a None
    passed for a model counts as not passed. Schemas are told apart by `name`: that is
    their hash, while equality also compares the models and options.

    The models do not survive JSON: `model_dump` gives the classes themselves, and `input` and
    `output` are left out of it.

    Attributes:
        name: The task's name, and that of its queue or route.
        input_schema: The model of what goes in; None takes anything.
        output_schema: The model of what comes out; None takes anything.
        input: The input instance if one was given, else `input_schema`.
        output: The output instance if one was given, else `output_schema`.
        retry: How a job is repeated after a failure; the meaning belongs to `mindtrace-jobs`.
        timeout: Seconds that one attempt may take; None for no limit.
        keep_result: Whether the output is stored for the producer; None leaves it to the queue.
        result_ttl: Seconds that a stored output is kept; None leaves it to the queue.

    Raises:
        pydantic.ValidationError: A plain `TaskSchema` has no name, a model is neither a model class
            nor (in the older form) an instance, or both forms are given for the same side.
    """

    model_config = ConfigDict(extra="forbid", validate_default=True, hide_input_in_errors=True)

    name: str = ""
    input_schema: ModelType = None
    output_schema: ModelType = None
    input: ModelOrType = Field(default=None, exclude=True, repr=False)
    output: ModelOrType = Field(default=None, exclude=True, repr=False)
    retry: object | None = None
    timeout: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    keep_result: bool | None = None
    result_ttl: float | None = Field(default=None, gt=0, allow_inf_nan=False)

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._settle("input")
        self._settle("output")
        if not self.name:
            self._name_after_class()
        return self

    def _settle(self, side: str) -> None:
        schema_field = f"{side}_schema"
        given: BaseModel | type[BaseModel] | None = getattr(self, side)
        schema: type[BaseModel] | None = getattr(self, schema_field)
        passed = {name for name in self.model_fields_set if getattr(self, name) is not None}
        if {side, schema_field} <= passed:
            message = f"give either {side}= or {schema_field}=, not both"
            raise ValueError(message)
        # Through vars: what follows from the arguments is not itself an argument.
        if given is None or schema_field in passed:
            vars(self)[side] = schema
        else:
            vars(self)[schema_field] = type(given) if isinstance(given, BaseModel) else given

    def _name_after_class(self) -> None:
        if type(self) is TaskSchema or "name" in self.model_fields_set:
            message = "a TaskSchema needs a name: pass name=, or subclass it to use the class name"
            raise ValueError(message)
        vars(self)["name"] = type(self).__name__

    def __hash__(self) -> int:
        return hash(self.name)

    @property
    def input_defaults(self) -> dict[str, Any]:
        """Return a fresh dict of the input instance's values, by field name; else an empty one."""
        if not isinstance(self.input, BaseModel):
            return {}
        return self.input.model_dump(round_trip=True)

    # Any: the result is whatever the bound factory makes, which core cannot name.
    def handler(self, function: Callable[..., object] | None = None, /, **options: object) -> Any:
        """Turn a typed function into a consumer of this schema's jobs.

        Works bare (`@schema.handler`) and with options (`@schema.handler(timeout=30)`). What the
        options mean, and what comes back, is up to the package that runs jobs.

        Raises:
            ImportError: No package that runs jobs has been imported.
        """
        factory = bound_handler_factory()
        if function is not None:
            return factory(self, function, options)

        def decorate(function: Callable[..., object]) -> object:
            return factory(self, function, options)

        return decorate
