"""Whether JSON has a shape: of what a handler returned before it is stored, of what is stored before it is
shown.

pydantic-core does the work, so that it costs a handler's results next to nothing.
"""

from collections.abc import Mapping

from pydantic_core import CoreSchema, SchemaValidator, ValidationError, core_schema

from taskql.errors import InputIssue
from taskql.shapes.bigint import MAX_INT, MIN_INT
from taskql.shapes.shape import Choice, ListOf, Model, Nullable, Scalar, Shape
from taskql.task import JSON

TOO_WIDE = "is no integer of 32 bits, which is all that a GraphQL Int holds; declare it as taskql.BigInt"
NO_ZONE = "is a time without a time zone; make it with one, like datetime.now(UTC)"
NO_DECIMAL = "is no finite decimal number"
ENDS_IN_ZONE = r"T.*(Z|[+-]\d\d:\d\d(:\d\d)?)$"
DECIMAL = r"^[+-]?\d+(\.\d+)?([eE][+-]?\d+)?$"


def then(first: CoreSchema, second: CoreSchema, message: str) -> CoreSchema:
    """Both, one after the other; `message` tells of what is not the second."""
    told = core_schema.custom_error_schema(second, "shape", custom_error_message=message)
    return core_schema.chain_schema([first, told])


TEXT = core_schema.str_schema(strict=True)
WHOLE = core_schema.int_schema(strict=True)
SCALARS: Mapping[Scalar, CoreSchema] = {
    Scalar.STRING: TEXT,
    Scalar.INT: then(WHOLE, core_schema.int_schema(ge=MIN_INT, le=MAX_INT), TOO_WIDE),
    # Numbers that are not finite are told of where all that can't be stored is.
    Scalar.FLOAT: core_schema.float_schema(strict=True),
    Scalar.BOOLEAN: core_schema.bool_schema(strict=True),
    Scalar.DATETIME: then(TEXT, core_schema.str_schema(pattern=ENDS_IN_ZONE), NO_ZONE),
    Scalar.DATE: TEXT,
    Scalar.TIME: TEXT,
    Scalar.UUID: TEXT,
    Scalar.DECIMAL: then(TEXT, core_schema.str_schema(pattern=DECIMAL), NO_DECIMAL),
    Scalar.BIG_INT: WHOLE,
    Scalar.JSON: core_schema.any_schema(),
}


class Check:
    """Holds JSON against one shape."""

    def __init__(self, shape: Shape) -> None:
        self._models: dict[Model, CoreSchema] = {}
        schema = self._schema(shape)
        self._validator = SchemaValidator(core_schema.definitions_schema(schema, list(self._models.values())))

    def issue(self, value: JSON) -> InputIssue | None:
        """The first place where the value has another shape, by the models' own names, and how."""
        try:
            self._validator.validate_python(value)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            return tuple(map(str, first["loc"])), first["msg"]
        return None

    def _schema(self, shape: Shape) -> CoreSchema:
        match shape:
            case Scalar():
                return SCALARS[shape]
            case Nullable(of):
                return core_schema.nullable_schema(self._schema(of))
            case ListOf(item):
                return core_schema.list_schema(self._schema(item), strict=True)
            case Choice():
                return core_schema.literal_schema(list(shape.values.values()))
            case Model():
                return self._model(shape)

    def _model(self, model: Model) -> CoreSchema:
        ref = str(id(model))
        if model not in self._models:
            self._models[model] = core_schema.any_schema()  # holds the place while the model may hold itself
            fields = {
                name: core_schema.typed_dict_field(self._schema(field.shape), required=True)
                for name, field in model.fields.items()
            }
            self._models[model] = core_schema.typed_dict_schema(fields, ref=ref)
        return core_schema.definition_reference_schema(ref)
