"""From a handler's models to its part of the schema, or to a refusal that says why."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Annotated, Any, Never
from uuid import uuid4

from graphql import InputObjectTypeDefinitionNode, ObjectTypeDefinitionNode, parse, print_ast
from pydantic import BaseModel, Field

from gql.schema import print_sdl
from taskql import TaskContext, handler
from taskql.handler import declared
from taskql.lifecycle import TaskStatus
from taskql.registry import Registry
from tests.unit.stub_api import STORED, TASK_ID, StubApi


class Done(BaseModel):
    ok: bool = Field(description="Whether it went well.")


class Address(BaseModel):
    """Where to."""

    street_name: str
    house_number: int | None = None


@dataclass
class Parcel:
    """What to send."""

    weight_in_kilos: Annotated[float, Field(gt=0, description="With its wrapping.")]
    to: Address
    stops_on_the_way: list[Address] = field(default_factory=list)
    labels: list[str] = field(default_factory=lambda: ["fragile"], metadata={"description": "In print."})
    code: str = field(default_factory=lambda: uuid4().hex)
    note: str | None = None
    copies: int = 1
    insured: bool = Field(default=False, description="Against loss.")


@dataclass
class Delivery:
    stops_made: list[Address]
    total_cost: float | None


@handler("sendParcel", max_attempts=5, timeout=timedelta(seconds=90))
def send_parcel(work: Parcel, task: TaskContext) -> Delivery:
    """Take a parcel to where it belongs."""
    raise NotImplementedError


@handler("ping")
async def ping(task: TaskContext) -> Done:
    raise NotImplementedError


@handler("giveUp")
async def give_up(task: TaskContext) -> Never:
    """Never comes back."""
    raise NotImplementedError


def registry_of(*functions: Callable[..., Any]) -> Registry:
    return Registry(found for function in functions if (found := declared(function)))


REGISTRY = registry_of(send_parcel, ping, give_up)
SDL = print_sdl(REGISTRY)


def fields_of(name: str, sdl: str = SDL) -> list[str]:
    """The fields of a type, each as one line."""
    [found] = [
        definition
        for definition in parse(sdl).definitions
        if isinstance(definition, InputObjectTypeDefinitionNode | ObjectTypeDefinitionNode)
        and definition.name.value == name
    ]
    return [print_ast(field).rpartition('"""\n')[2] for field in found.fields or ()]


def test_input_type_has_the_models_fields_types_and_defaults() -> None:
    assert fields_of("SendParcelInput") == [
        "weightInKilos: Float!",
        "to: AddressInput!",
        "stopsOnTheWay: [AddressInput!]! = []",
        "labels: [String!]",
        "code: String",
        "note: String",
        "copies: Int! = 1",
        "insured: Boolean! = false",
    ]
    assert fields_of("AddressInput") == ["streetName: String!", "houseNumber: Int"]


def test_result_type_has_the_models_fields_and_types() -> None:
    assert fields_of("SendParcelResult") == ["stopsMade: [Address!]!", "totalCost: Float"]
    assert fields_of("Address") == ["streetName: String!", "houseNumber: Int"]
    assert "union TaskResult = SendParcelResult | PingResult" in SDL


def test_kind_without_input_takes_no_input() -> None:
    assert "input TaskWorkInput @oneOf {" in SDL
    assert fields_of("NoInput") == ["_: Boolean"]
    assert fields_of("TaskWorkInput") == [
        "sendParcel: SendParcelInput",
        "ping: NoInput",
        "giveUp: NoInput",
    ]


def test_docstrings_and_field_descriptions_are_the_descriptions() -> None:
    for description in ("What to send.", "Where to.", "With its wrapping.", "In print.", "Against loss."):
        assert f'"""{description}"""' in SDL
    assert '"""Take a parcel to where it belongs."""\n  sendParcel: SendParcelInput' in SDL
    assert "Delivery(stops_made" not in SDL
    assert "Usage docs" not in SDL


async def test_kinds_are_listed_with_what_their_handlers_declare() -> None:
    fields = "name description maxAttempts timeoutSeconds inputType resultType"
    kinds = (await StubApi(REGISTRY).data(f"{{kinds {{{fields}}}}}"))["kinds"]
    assert [tuple(kind.values()) for kind in kinds] == [
        ("sendParcel", "Take a parcel to where it belongs.", 5, 90.0, "SendParcelInput", "SendParcelResult"),
        ("ping", None, 3, 300.0, None, "PingResult"),
        ("giveUp", "Never comes back.", 3, 300.0, None, None),
    ]


async def create(api: StubApi, work: dict[str, Any]) -> dict[str, Any]:
    document = """mutation ($work: TaskWorkInput) {
      createTask(input: {title: "a", work: $work}) {task {kind input} userErrors {message field}}
    }"""
    payload: dict[str, Any] = (await api.data(document, work=work))["createTask"]
    return payload


async def test_names_are_the_models_in_the_store_and_camel_case_for_clients_at_every_depth() -> None:
    api = StubApi(REGISTRY)
    place = {"streetName": "High Street", "houseNumber": 1}
    work = {"weightInKilos": 2, "to": place, "stopsOnTheWay": [place], "code": "x"}
    payload = await create(api, {"sendParcel": work})
    [stored] = api.store.created
    inside = {"street_name": "High Street", "house_number": 1}
    assert stored.input == {
        "weight_in_kilos": 2.0,
        "to": inside,
        "stops_on_the_way": [inside],
        "labels": ["fragile"],
        "code": "x",
        "note": None,
        "copies": 1,
        "insured": False,
    }
    assert payload["task"]["input"]["stopsOnTheWay"] == [place]
    assert payload["task"]["input"]["weightInKilos"] == 2.0


async def test_null_means_the_default_where_the_default_can_not_be_printed() -> None:
    api = StubApi(REGISTRY)
    await create(
        api, {"sendParcel": {"weightInKilos": 2, "to": {"streetName": "a"}, "labels": None, "code": None}}
    )
    [stored] = api.store.created
    assert stored.input["labels"] == ["fragile"]
    assert len(stored.input["code"]) == 32


async def test_constraints_are_the_models_business_and_their_paths_are_the_clients() -> None:
    parcel = {"weightInKilos": -1, "to": {"streetName": "a"}}
    payload = await create(StubApi(REGISTRY), {"sendParcel": parcel})
    assert payload["userErrors"] == [
        {
            "message": "Input should be greater than 0.",
            "field": ["input", "work", "sendParcel", "weightInKilos"],
        }
    ]


async def test_path_into_a_nested_list_keeps_its_index() -> None:
    parcel = {"weightInKilos": 1, "to": {"streetName": "a"}, "stopsOnTheWay": [{"streetName": "\x00"}]}
    payload = await create(StubApi(REGISTRY), {"sendParcel": parcel})
    [error] = payload["userErrors"]
    assert error["field"] == ["input", "work", "sendParcel", "stopsOnTheWay", "0", "streetName"]


async def test_kind_without_input_is_asked_for_with_an_empty_object() -> None:
    api = StubApi(REGISTRY)
    payload = await create(api, {"ping": {}})
    assert (payload["task"]["kind"], api.store.created[0].input) == ("ping", {})
    await create(api, {"ping": {"_": True}})
    assert api.store.created[1].input == {}


RESULT = f"""{{
  task(id: "{TASK_ID}") {{
    input
    result {{
      __typename
      ... on SendParcelResult {{stopsMade {{__typename streetName houseNumber}} totalCost}}
    }}
  }}
}}"""


async def test_result_is_its_member_of_the_union_nested_models_included() -> None:
    api = StubApi(REGISTRY)
    api.store.task = replace(
        STORED,
        kind="sendParcel",
        status=TaskStatus.COMPLETED,
        result={"stops_made": [{"street_name": "a", "house_number": 3}], "total_cost": None},
    )
    assert (await api.data(RESULT))["task"]["result"] == {
        "__typename": "SendParcelResult",
        "stopsMade": [{"__typename": "Address", "streetName": "a", "houseNumber": 3}],
        "totalCost": None,
    }


async def test_task_of_a_kind_that_is_not_known_here_shows_its_input_as_stored_and_no_result() -> None:
    api = StubApi(REGISTRY)
    api.store.task = replace(STORED, kind="elsewhere", input={"a_b": 1}, result={"c_d": 2})
    assert (await api.data(RESULT))["task"] == {"input": {"a_b": 1}, "result": None}


def test_a_deployment_whose_kinds_have_no_results_has_no_result_field() -> None:
    assert "result: TaskResult" not in print_sdl(registry_of(give_up))
