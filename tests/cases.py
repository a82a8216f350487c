"""Requests made from the schema itself: each root field, each of its arguments, with all that it can answer.

A field, an argument or an input field that is added to the schema is in the requests at once. Where nobody
could know what to put into it, the making fails and says so.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    GraphQLSchema,
    get_named_type,
    is_abstract_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

MAX_LEVELS = 8
UNIMPORTANT: Mapping[str, Any] = {"String": "x", "Int": 1, "Float": 0.5, "Boolean": False}
"""What a kind's input gets where it must have something."""

Value = Any
Rules = Mapping[str, Sequence[Value]]


@dataclass(frozen=True)
class Case:
    """One request; `about` is the root field, as `Query.task`."""

    about: str
    document: str
    variables: Mapping[str, Value]

    @property
    def operation(self) -> str:
        return self.about.partition(".")[0]

    def __str__(self) -> str:
        return f"{self.about}({self.variables})"


@dataclass(frozen=True)
class Known:
    """What there is to ask for: the tasks as their owner sees them, all ids, and values by coordinate.

    `always` are fields that an input object gets besides.
    """

    tasks: Sequence[Mapping[str, Value]]
    ids: Sequence[str]
    rules: Rules
    always: Mapping[str, Mapping[str, Value]]


class Cases:
    """Makes the requests for one schema."""

    def __init__(self, schema: GraphQLSchema, known: Known, hidden: Collection[str] = ()) -> None:
        self._schema = schema
        self._known = known
        self._hidden = hidden
        task = schema.type_map["Task"]
        assert isinstance(task, GraphQLObjectType)
        self._task = task

    def __iter__(self) -> Iterator[Case]:
        for root in (self._schema.query_type, self._schema.mutation_type, self._schema.subscription_type):
            assert root is not None
            for name, field in root.fields.items():
                yield from self._of(root, name, field)

    def _of(self, root: GraphQLObjectType, name: str, field: GraphQLField) -> Iterator[Case]:
        about = f"{root.name}.{name}"
        types = {argument: variable_type(known) for argument, known in field.args.items()}
        declared = ", ".join(f"${argument}: {type_}" for argument, type_ in types.items())
        passed = ", ".join(f"{argument}: ${argument}" for argument in types)
        document = (
            f"{root.name.lower()} Asked{declared and f'({declared})'} "
            f"{{ {name}{passed and f'({passed})'}{selection(self._schema, field.type, self._hidden)} }}"
        )
        arguments = {argument: known.type for argument, known in field.args.items()}
        required = [argument for argument, known in field.args.items() if is_required_argument(known)]
        for variables in self._combinations(about, arguments, required):
            yield Case(about, document, variables)

    def _combinations(
        self, about: str, types: Mapping[str, GraphQLInputType], required: Sequence[str]
    ) -> Iterator[dict[str, Value]]:
        """What must be there alone, then with each value of each other one."""
        values = {name: list(self._values(about, name, type_)) for name, type_ in types.items()}
        base = {name: values[name][0] for name in required}
        yield base
        for name, some in values.items():
            yield from ({**base, name: value} for value in some if {**base, name: value} != base)

    def _values(self, about: str, name: str, type_: GraphQLInputType) -> Iterator[Value]:
        """What to put into an argument or an input field."""
        bare = type_.of_type if isinstance(type_, GraphQLNonNull) else type_
        named = get_named_type(bare)
        coordinate = f"{about}.{name}"
        if named.name == "ID":
            yield from [list(self._known.ids)] if isinstance(bare, GraphQLList) else self._known.ids
        elif coordinate in self._known.rules:
            yield from self._known.rules[coordinate]
        elif isinstance(named, GraphQLInputObjectType):
            objects = list(self._objects(named))
            yield from [objects] if isinstance(bare, GraphQLList) else objects
        elif name in self._task.fields and get_named_type(self._task.fields[name].type) is named:
            yield from self._of_tasks(name, isinstance(bare, GraphQLList))
        elif isinstance(named, GraphQLEnumType):
            yield from named.values
        elif self._is_a_kinds(about):
            yield [UNIMPORTANT[named.name]] if isinstance(bare, GraphQLList) else UNIMPORTANT[named.name]
        else:
            raise AssertionError(f"{coordinate}: say what value of it would find or meet somebody's task")

    def _objects(self, type_: GraphQLInputObjectType) -> Iterator[dict[str, Value]]:
        yield from self._known.rules.get(type_.name, ())
        if type_.is_one_of:
            for name, field in type_.fields.items():
                yield from ({name: value} for value in self._values(type_.name, name, field.type))
            return
        types = {name: field.type for name, field in type_.fields.items()}
        required = [name for name, field in type_.fields.items() if is_required_input_field(field)]
        always = self._known.always.get(type_.name, {})
        if self._is_a_kinds(type_.name):
            types = {name: types[name] for name in required}
        for fields in self._combinations(type_.name, types, required):
            yield {**always, **fields}

    def _of_tasks(self, name: str, listed: bool) -> Iterator[Value]:
        """What the tasks' own field of this name has: of words the first, which stands for all."""
        seen: list[Value] = []
        for task in self._known.tasks:
            value = task[name]
            wanted = [value] if listed and not isinstance(value, list) else value
            if wanted not in (None, [], *seen):
                seen.append(wanted)
        assert seen, f"no task has any {name}: there must be one"
        is_enum = isinstance(get_named_type(self._task.fields[name].type), GraphQLEnumType)
        yield from seen if is_enum else seen[:1]

    def _is_a_kinds(self, about: str) -> bool:
        """Whether it is a part of a kind's input, which nobody's task is found by."""
        work = self._schema.type_map["TaskWorkInput"]
        assert isinstance(work, GraphQLInputObjectType)
        return any(about in names_below(field.type) for field in work.fields.values())


def names_below(type_: GraphQLInputType) -> set[str]:
    """An input type, and those of its fields."""
    named = get_named_type(type_)
    if not isinstance(named, GraphQLInputObjectType):
        return set()
    return {named.name}.union(*(names_below(field.type) for field in named.fields.values()))


def variable_type(argument: GraphQLArgument) -> GraphQLInputType:
    """Its own, but that it may be left out where the argument may."""
    if isinstance(argument.type, GraphQLNonNull) and not is_required_argument(argument):
        return argument.type.of_type
    return argument.type


def selection(
    schema: GraphQLSchema, type_: GraphQLOutputType, hidden: Collection[str] = (), levels: int = MAX_LEVELS
) -> str:
    """All that can be asked of a value of this type, as a selection set; nothing for a leaf."""
    named = get_named_type(type_)
    if is_leaf_type(named):
        return ""
    if is_abstract_type(named):
        inner = " ".join(
            f"... on {each.name} {{ {fields(schema, each, hidden, levels, f'{each.name}_')} }}"
            for each in schema.get_possible_types(named)
        )
    else:
        assert isinstance(named, GraphQLObjectType)
        inner = fields(schema, named, hidden, levels)
    return f" {{ __typename {inner} }}"


def fields(
    schema: GraphQLSchema, type_: GraphQLObjectType, hidden: Collection[str], levels: int, prefix: str = ""
) -> str:
    """With a prefix they have names of their own: fields of several types may not share one."""
    chosen = []
    for name, field in type_.fields.items():
        below = selection(schema, field.type, hidden, levels - 1) if levels else ""
        is_too_deep = not below and not is_leaf_type(get_named_type(field.type))
        assert not field.args, f"{type_.name}.{name} takes arguments: say what values of them are somebody's"
        if f"{type_.name}.{name}" not in hidden and not is_too_deep:
            chosen.append(f"{prefix}{name}: {name}{below}" if prefix else f"{name}{below}")
    return " ".join(chosen)
