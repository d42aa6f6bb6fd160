"""The Postman collection: its requests can be answered. tests/payments/test_demo.py runs it."""

import json
import re
from typing import Any

import pytest

from tests.support import postman
from tests.support.description_checks import operations
from tests.support.walk_through import STEPS

_VARIABLE = re.compile(r"{{([^$}]+)}}")
_SET = re.compile(r'pm\.collectionVariables\.set\("(\w+)"')


@pytest.fixture(scope="module")
def collection() -> dict[str, Any]:
    made: dict[str, Any] = json.loads(postman.text())
    return made


@pytest.fixture(scope="module")
def reference(collection: dict[str, Any]) -> dict[str, Any]:
    (found,) = [folder for folder in collection["item"] if folder["name"] == postman.REFERENCE]
    return dict(found)


def scripts(item: dict[str, Any]) -> str:
    return "\n".join(line for event in item.get("event", []) for line in event["script"]["exec"])


def test_reference_has_every_operation_once(reference: dict[str, Any]) -> None:
    held = sorted(postman.endpoint(item["request"]) for item in postman.items(reference))
    assert held == sorted(map(str, operations()))


def test_streams_and_logout_come_last(reference: dict[str, Any]) -> None:
    """In each folder what deletes comes after the requests for what is deleted."""
    *folders, last = reference["item"]
    ending = {postman.endpoint(item["request"]) for item in last["item"]}
    assert ending == {"POST /auth/logout", "POST /auth/password", "GET /facilitator/feed"}
    assert postman.endpoint(last["item"][-1]["request"]) == "GET /facilitator/feed"
    for folder in folders:
        deletes = [item["request"]["method"] == "DELETE" for item in folder["item"]]
        assert deletes == sorted(deletes), folder["name"]


def test_only_login_sets_the_tokens(reference: dict[str, Any]) -> None:
    """The tokens of a calendar's provider are in an answer too; they are not ours."""
    sets = {
        postman.endpoint(item["request"]): set(_SET.findall(scripts(item)))
        for item in postman.items(reference)
        if _SET.search(scripts(item))
    }
    both, one = {"bearerToken", "refreshToken"}, {"bearerToken"}
    assert sets == {
        "POST /auth/login": both,
        "POST /auth/refresh": both,
        "POST /auth/second-factor": both,
        "GET /auth/google/callback": both,
        "POST /api/register": one,
        "POST /api/login": one,
        "POST /api/auth/register": one,
        "POST /api/auth/login": one,
        "POST /api/auth/google": one,
    }
    found = {postman.endpoint(item["request"]): item for item in postman.items(reference)}
    assert found["POST /bookings"]["request"]["auth"]["bearer"][0]["value"] == "{{bearerToken}}"
    assert found["POST /auth/refresh"]["request"]["auth"]["bearer"][0]["value"] == "{{refreshToken}}"
    assert '"access_token"' in found["POST /calendar/google/exchange-token"]["response"][0]["body"]


def test_every_variable_is_known_and_no_date_is_past(collection: dict[str, Any]) -> None:
    """A request sends variables of the collection and dates counted from today; the examples' day is in 2026-01."""
    known = {variable["key"] for variable in collection["variable"]}
    known |= {f"in{days}days" for days in range(postman.DAYS_AHEAD + 1)}
    for item in postman.items(collection):
        sent = json.dumps({key: part for key, part in item["request"].items() if key != "description"})
        assert set(_VARIABLE.findall(sent)) <= known, item["name"]
        assert "2026-01" not in sent, item["name"]


def test_only_parameters_with_an_example_are_sent(reference: dict[str, Any]) -> None:
    found = {postman.endpoint(item["request"]): item["request"] for item in postman.items(reference)}
    for described in operations():
        parameters = described.operation.get("parameters", [])
        query = {each["key"]: each for each in found[str(described)]["url"]["query"]}
        assert query.keys() == {each["name"] for each in parameters if each["in"] == "query"}
        sent = {name for name, each in query.items() if not each.get("disabled")}
        assert sent == {each["name"] for each in parameters if each["in"] == "query" and "example" in each}


def test_every_post_has_its_own_idempotency_key(collection: dict[str, Any]) -> None:
    for item in postman.items(collection):
        request = item["request"]
        if "{{baseUrl}}" not in request["url"]["host"]:
            continue  # the payment page
        keys = [each["value"] for each in request["header"] if each["key"] == "Idempotency-Key"]
        assert keys == (["{{$guid}}"] if request["method"] == "POST" else []), item["name"]


def test_walk_through_sets_its_variables_before_use(collection: dict[str, Any]) -> None:
    """So the requests of the folder run in their order with nothing typed in, and each checks its answer's status."""
    walk = collection["item"][0]
    assert walk["name"] == postman.WALK_THROUGH
    known = {"baseUrl"} | {f"in{days}days" for days in range(postman.DAYS_AHEAD + 1)}
    for item, step in zip(postman.items(walk), STEPS, strict=True):
        sent = json.dumps({key: part for key, part in item["request"].items() if key != "description"})
        known |= step.makes.keys()
        assert set(_VARIABLE.findall(sent)) <= known, item["name"]
        known |= set(_SET.findall(scripts(item)))
        assert f"to.have.status({step.status})" in scripts(item)


def test_walk_through_expects_documented_statuses() -> None:
    documented = {described.operation["operationId"]: described.operation["responses"] for described in operations()}
    for step in STEPS:
        assert step.page or str(step.status) in documented[step.operation], step.name
