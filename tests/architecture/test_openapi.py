"""The description of the API is complete and sound."""

import re
from typing import Any

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator

from domain.accounts import SELF_ASSIGNABLE_ROLES
from interfaces.http.openapi import schema_names
from interfaces.http.openapi.document import examples
from interfaces.http.openapi.groups import FOR_NEW_CLIENTS, TAGS
from interfaces.http.openapi.schemas import named
from tests.support.description_checks import Described, document, endpoints, misfits, operations, the
from tests.support.process_harness import LONG_RUN

OPERATIONS = pytest.mark.parametrize("described", endpoints(), indirect=True)


@pytest.fixture
def described(request: pytest.FixtureRequest) -> Described:
    return the(request.param)


def bodies(content: dict[str, Any]) -> list[Any]:
    """The examples of a request's or an answer's body; none of a file."""
    media = content.get("application/json", {})
    return [media["example"]] if "example" in media else [each["value"] for each in media.get("examples", {}).values()]


def test_description_is_valid_openapi_3_1() -> None:
    """A usual run leaves it to Spectral (tests/clients/test_linters.py): this validator takes 20 s."""
    assert document()["openapi"].startswith("3.1.")
    if LONG_RUN:
        OpenAPIV31SpecValidator(document()).validate()


def test_methods_of_a_path_have_a_fixed_order() -> None:
    """The framework keeps them in a set, whose order differs from process to process."""
    order = ["get", "post", "put", "patch", "delete"]
    assert all(list(methods) == sorted(methods, key=order.index) for methods in document()["paths"].values())


def test_every_group_is_described_and_used() -> None:
    used = {tag for described in operations() for tag in described.operation["tags"]}
    assert used == set(TAGS)
    listed = [name for group in document()["x-tagGroups"] for name in group["tags"]]
    assert listed == list(TAGS)


def test_operations_recommended_to_new_clients_exist() -> None:
    """The first page and the notes on operations of other contracts name operations that are there."""
    operation_ids = {described.operation["operationId"] for described in operations()}
    assert FOR_NEW_CLIENTS.keys() | set(FOR_NEW_CLIENTS.values()) <= operation_ids
    _, _, page = document()["info"]["description"].partition("| --- | --- |")
    rows = [line for line in page.partition("\n\n")[0].splitlines() if line]
    named_there = {name for row in rows for name in re.findall(r"`([a-z]+[A-Z]\w+)`", row)}
    assert {"logIn", "createBooking", "cancelBooking"} <= named_there <= operation_ids
    assert not named_there & FOR_NEW_CLIENTS.keys()


def test_every_example_belongs_to_an_operation() -> None:
    assert set(examples()) == {described.operation["operationId"] for described in operations()}


@OPERATIONS
def test_operation_has_one_group_a_summary_and_a_description(described: Described) -> None:
    operation = described.operation
    assert len(operation["tags"]) == 1
    assert operation["operationId"].isidentifier()
    assert operation["summary"]
    assert operation["description"]
    assert all(parameter["description"] for parameter in operation.get("parameters", []))


@OPERATIONS
def test_every_answer_and_body_has_a_valid_example(described: Described) -> None:
    operation = described.operation
    contents = {f"{described} {status}": answer.get("content") for status, answer in operation["responses"].items()}
    if "requestBody" in operation:
        contents[f"{described} body"] = operation["requestBody"]["content"]
    for name, content in contents.items():
        if content is None and name.endswith((" 204", " 304")):
            continue
        if content is None:
            location = operation["responses"]["302"]["headers"]["Location"]
            assert location["example"].startswith("https://"), f"{name}: run `python -m tests.support.examples`"
            continue
        if "application/json" not in content:
            files = {"application/octet-stream", "text/calendar", "text/csv"}
            assert content.keys() <= files | {"multipart/form-data", "text/event-stream"}, name
            continue
        shown = bodies(content)
        assert shown, f"{name} has no example: run `python -m tests.support.examples`"
        for body in shown:
            assert not misfits(content["application/json"]["schema"], body), name
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "path":
            assert not misfits(parameter["schema"], parameter["example"])


@OPERATIONS
def test_every_error_is_documented(described: Described) -> None:
    operation = described.operation
    expected = {"400", "500"}
    if operation["security"] and {} not in operation["security"]:
        expected.add("401")
    if described.method in {"POST", "PUT", "PATCH"}:
        expected |= {"408", "413", "415"}
    if "{" in described.path:
        expected.add("404")
    if described.path != "/":
        expected.add("503")
    assert expected <= set(operation["responses"])
    for status in expected:
        assert operation["responses"][status]["description"]


def test_errors_have_the_shape_of_their_contract() -> None:
    def error(method: str, path: str, status: int, code: str) -> Any:
        found = next(each for each in operations() if (each.method, each.path) == (method, path))
        return found.operation["responses"][str(status)]["content"]["application/json"]["examples"][code]["value"]

    always = {"code": "event_not_found", "request_id": error("GET", "/", 500, "internal_error")["request_id"]}
    assert error("GET", "/events/{event_id}", 404, "event_not_found") == {"error": "Event not found"} | always
    of_a = {"error": "Not Found", "message": "The requested resource was not found"}
    assert error("GET", "/api/events/{event_id}", 404, "event_not_found") == of_a | always
    of_c = {"error": "Session not found"}
    assert error("PUT", "/api/sessions/{session_id}", 404, "event_not_found") == of_c | always


def test_security_scheme_matches_the_kind_of_token() -> None:
    asked = {str(each): [name for scheme in each.operation["security"] for name in scheme] for each in operations()}
    assert asked["GET /coaches"] == []
    assert asked["GET /events"] == ["userToken", "apiKey"]
    assert {} in the("GET /events").operation["security"]
    assert asked["POST /auth/refresh"] == ["refreshToken"]
    assert the("POST /bookings").operation["security"] == [{"userToken": []}, {"apiKey": ["bookings:write"]}]
    assert asked["POST /api-keys"] == ["userToken"]
    assert asked["POST /service/offline-payments"] == ["serviceToken"]


def test_only_posts_accept_an_idempotency_key() -> None:
    for described in operations():
        taken = [each["name"] for each in described.operation.get("parameters", []) if each["in"] == "header"]
        assert ("Idempotency-Key" in taken) == (described.method == "POST")


MAKE_AND_GIVE_TOKENS = {
    *("POST /api/register", "POST /api/auth/register"),
    *("POST /calendar/google/exchange-token", "POST /calendar/outlook/exchange-token"),
}


SECRETS = {"CalendarFeed", "CreatedApiKey", "FactorAdded", "NewRecoveryCodes", "PasskeyOptions", "StartedTotp"}
"""Schemas with a secret that is no token: an address, a key, codes, a challenge."""


def test_only_posts_that_return_tokens_are_not_stored() -> None:
    """Tokens, and what is as secret, are stored nowhere in the clear."""
    schemas = document()["components"]["schemas"]
    for described in operations():
        if described.method == "POST":
            answer = next(body for status, body in described.operation["responses"].items() if status < "300")
            name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
            gives_tokens = name in SECRETS or any(each.endswith("token") for each in schemas[name]["properties"])
            (key,) = [each for each in described.operation["parameters"] if each["name"] == "Idempotency-Key"]
            assert gives_tokens != ("gets the same answer" in key["description"]), described
            done_once = "409" in described.operation["responses"]
            assert done_once == (not gives_tokens or str(described) in MAKE_AND_GIVE_TOKENS), described


def test_amounts_are_numbers_and_optional_values_are_nullable() -> None:
    schemas = document()["components"]["schemas"]
    assert schemas["NewEvent"]["properties"]["price"] == {"type": "number", "default": 0}
    assert schemas["NewEvent"]["properties"]["category"] == {"type": ["string", "null"]}
    assert schemas["NewEvent"]["properties"]["start_datetime"] == {"type": "string", "format": "date-time"}
    assert schemas["BookingRequest"]["properties"]["event_id"]["maximum"] == 2**63 - 1


# Names, which generators give to the classes of a client


def test_schema_title_equals_its_key_and_is_unique() -> None:
    """Generators drop operations whose schemas share a title."""
    schemas = document()["components"]["schemas"]
    assert {key: schema.get("title") for key, schema in schemas.items()} == {key: key for key in schemas}


def test_schema_names_are_terms_of_the_field() -> None:
    """`Booking`, not `core_bookings_BookingBody`; each line of the table names a schema that exists."""
    schemas = set(document()["components"]["schemas"])
    assert schemas >= {"Booking", "Event", "UserProfile", "BookingCreated", "LoginRequest", "Tokens", "Error"}
    assert [name for name in schemas if not re.fullmatch(r"([A-Z][a-z]+)+(A|C|E|AOrC)?", name)] == []
    assert [name for name in schemas if name.endswith("Body")] == []
    assert set(schema_names.NAMES.values()) <= schemas
    assert set(schema_names.ERRORS.values()) <= schemas


FREE_TEXTS = {
    "Attachment.media_type",
    "CalendarAuthorizationCode.code",
    "CalendarEntry.status",
    "CalendarTokens.token_type",
    "ConfirmationCode.code",
    "NewTotpFactor.code",
    "RazorpayFailure.error_code",
    "Reauthentication.code",
    "RefusedAppointment.reason",
    "SecondFactorUpdate.code",
    "SecondStep.code",
}
"""What other services and people word, and sentences."""


def test_text_fields_with_few_values_are_enumerations() -> None:
    """By the names of fields: states, kinds, roles, reasons, codes; most are enums with a name of their own."""
    named_so = re.compile(r"(status|role|type|result|destination|fact|code|change|reason|provider|service|database)$")
    plain = {
        f"{name}.{field}"
        for name, schema in document()["components"]["schemas"].items()
        for field, drawn in schema.get("properties", {}).items()
        if named_so.search(field) and "string" in drawn.get("type", ()) and not drawn.keys() & {"enum", "const"}
    }
    assert plain == FREE_TEXTS


def test_enumerations_of_bodies_match_the_accepted_values() -> None:
    """Roles that people may register with, and types of events, are described as the readers of bodies take them."""
    schemas = document()["components"]["schemas"]
    assert set(schemas["RegistrationRole"]["enum"]) == SELF_ASSIGNABLE_ROLES
    assert schemas["RegistrationRequest"]["properties"]["role"] == {
        "allOf": [{"$ref": "#/components/schemas/RegistrationRole"}],
        "default": "user",
    }
    assert schemas["EventUpdate"]["properties"]["event_type"] == {"$ref": "#/components/schemas/EventType"}
    assert "default" not in schemas["EventType"]
    assert the("GET /bookings").operation["parameters"][0]["schema"] == {"$ref": "#/components/schemas/BookingStatus"}


def test_error_codes_are_enumerated() -> None:
    """Every code that an operation documents, and those of addresses that are none."""
    codes = set(document()["components"]["schemas"]["ErrorCode"]["enum"])
    shown = {
        example["value"]["code"]
        for described in operations()
        for status, answer in described.operation["responses"].items()
        if status >= "400"
        for example in answer.get("content", {}).get("application/json", {}).get("examples", {}).values()
    }
    assert codes >= shown | {"not_found", "method_not_allowed", "too_many_connections"}
    errors = [schema for name, schema in document()["components"]["schemas"].items() if re.match("Error(Of|$)", name)]
    assert len(errors) == 5
    assert all(schema["properties"]["code"] == {"$ref": "#/components/schemas/ErrorCode"} for schema in errors)


def test_two_schemas_of_one_name_are_rejected() -> None:
    """As two structs with the name `Credentials` were, of which one had no line in the table."""
    schema = {"type": "object", "title": "Credentials"}
    with pytest.raises(LookupError, match="Two schemas are called Credentials"):
        named({"components": {"schemas": {"core_Credentials": schema, "classic_Credentials": dict(schema)}}})
