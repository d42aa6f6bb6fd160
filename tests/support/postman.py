"""The Postman collection, made from the API's description: `script/postman` writes it.

The folder "Walk-through" runs from top to bottom. The folder "Reference" has every operation once, by the groups of the
description, with its example. What changes from day to day is a variable: ids come from the walk-through's
answers, dates are counted from today.
"""

import json
import re
import sys
from collections.abc import Iterable, Iterator
from datetime import date
from pathlib import Path
from typing import Any

from interfaces.http.idempotency import HEADER
from tests.support.description_checks import Described, document, operations
from tests.support.recorder import DAY
from tests.support.walk_through import INTRODUCTION, STEPS, Step

FILE = Path(__file__).parents[2] / "var" / "convene.postman_collection.json"
"""Where `script/postman` writes it, unless it is given another path."""
WALK_THROUGH = "Walk-through"
REFERENCE = "Reference"
LAST = "Streams and logging out"
"""The folder of what never ends or ends the login."""

BASE_URL = "http://127.0.0.1:5000"
VARIABLES = {"userToken": "bearerToken", "refreshToken": "refreshToken", "serviceToken": "serviceToken"}
"""The collection's variable for each security scheme."""
KEPT = {"access_token": "bearerToken", "refresh_token": "refreshToken"}
"""What an answer to a login holds that later requests need, and the variable that it goes to."""
IDS = {
    "event_id": "eventId",
    "session_id": "eventId",
    "booking_id": "bookingId",
    "user_id": "clientNumber",
    "client_id": "clientId",
    "coach_id": "coachId",
}
"""The variable for each id. A `booking_id` that is a UUID is that of an appointment."""
DAYS_AHEAD = 31
DATES = [
    "// The date in so many days: {{in7days}}T18:00:00Z is an evening in a week.",
    f"for (let days = 0; days <= {DAYS_AHEAD}; days++) {{",
    "  const date = new Date(Date.now() + days * 86400000).toISOString().slice(0, 10);",
    "  pm.variables.set(`in${days}days`, date);",
    "}",
]

_DATE = re.compile(r"(\d{4}-\d\d-\d\d)(T[\d:]+Z)?")
_NUMBER = re.compile(r'"#({{\w+}})"')


def collection() -> dict[str, Any]:
    """The whole collection, in version 2.1 of Postman's format."""
    described = {each.operation["operationId"]: each for each in operations()}
    walk = [_step(step, described.get(step.operation)) for step in STEPS]
    set_here = {variable for step in STEPS for variable in (*step.keeps, *step.makes)}
    variables = {"baseUrl": BASE_URL} | dict.fromkeys([*VARIABLES.values(), *sorted(set_here)], "")
    return {
        "info": {
            "name": document()["info"]["title"],
            "description": document()["info"]["description"],
            "schema": "https://schema.getpostman.com/json/collection/v2.1.0/collection.json",
        },
        "item": [
            {"name": WALK_THROUGH, "description": INTRODUCTION, "item": walk},
            {"name": REFERENCE, "description": "Every operation, with its example.", "item": _reference()},
        ],
        "event": [_script("prerequest", DATES)],
        "variable": [{"key": key, "value": value} for key, value in variables.items()],
    }


def text() -> str:
    """The content of the file."""
    return json.dumps(collection(), indent=1, ensure_ascii=False) + "\n"


def items(folder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The requests of a folder and of the folders in it."""
    for item in folder["item"]:
        if "request" in item:
            yield item
        else:
            yield from items(item)


def endpoint(request: dict[str, Any]) -> str:
    """As OpenAPI writes it: `GET /events/{event_id}`."""
    parts = [f"{{{part[1:]}}}" if part.startswith(":") else part for part in request["url"]["path"]]
    return f"{request['method']} /{'/'.join(parts)}"


def _reference() -> list[dict[str, Any]]:
    """A folder for each tag, in the description's order; what never ends and what ends the login come last."""
    last = sorted((described for described in _in_order() if _comes_last(described)), key=_streams)
    groups = [(tag["name"], tag["description"]) for tag in document()["tags"]]
    folders = [
        {
            "name": name,
            "description": description,
            "item": [
                _item(described)
                for described in _in_order()
                if described.operation["tags"][0] == name and described not in last
            ],
        }
        for name, description in groups
    ]
    ending = {
        "name": LAST,
        "description": "Logging out ends the token. The live feed is a stream that does not end.",
        "item": [_item(described) for described in last],
    }
    return [folder for folder in (*folders, ending) if folder["item"]]


def _in_order() -> list[Described]:
    """As the description has them; what deletes comes last, since the others of its group need the thing."""
    by_path = {path: number for number, path in enumerate(document()["paths"])}
    return sorted(operations(), key=lambda described: (described.method == "DELETE", by_path[described.path]))


def _comes_last(described: Described) -> bool:
    return _streams(described) or described.operation["operationId"] in {"logOut", "changePassword"}


def _streams(described: Described) -> bool:
    return any("text/event-stream" in answer.get("content", {}) for _, answer in _answers(described))


def _answers(described: Described) -> list[tuple[int, dict[str, Any]]]:
    """The answers to a request that succeeds, by status."""
    responses = described.operation["responses"]
    return [(int(status), answer) for status, answer in responses.items() if status < "400"]


def _item(described: Described) -> dict[str, Any]:
    operation = described.operation
    request = _request(described)
    item = {"name": operation["summary"], "request": request, "response": list(_examples(described, request))}
    if kept := _tokens(described):
        keep = [f'  pm.collectionVariables.set("{KEPT[name]}", pm.response.json().{name});' for name in kept]
        item["event"] = [_script("test", ["if (pm.response.code < 300) {", *keep, "}"])]
    return item


def _tokens(described: Described) -> list[str]:
    """The tokens that a login answers with. With an operation that needs a token they are a calendar provider's."""
    if any("userToken" in security for security in described.operation["security"]):
        return []
    bodies = [body for _, answer in _answers(described) for body in _shown(answer.get("content", {}))]
    return [name for name in KEPT if any(isinstance(body, dict) and name in body for body in bodies)]


def _request(described: Described) -> dict[str, Any]:
    operation = described.operation
    parameters = operation.get("parameters", [])
    schemes = [name for security in operation["security"] for name in security]
    content: dict[str, Any] = operation.get("requestBody", {}).get("content", {})
    request = {
        "method": described.method,
        "description": operation["description"],
        "auth": _bearer(VARIABLES[schemes[0]]) if schemes else {"type": "noauth"},
        "header": [_header(each) for each in parameters if each["in"] == "header"],
        "url": _url(
            described.path,
            [_query(each) for each in parameters if each["in"] == "query"],
            [_variable(each) for each in parameters if each["in"] == "path"],
        ),
    }
    if "multipart/form-data" in content:
        names = _properties(content["multipart/form-data"]["schema"])
        request["body"] = {"mode": "formdata", "formdata": [{"key": name, "type": "file", "src": []} for name in names]}
    elif content:
        request |= _json_body(next(iter(_shown(content)), {}), request["header"])
    return request


def _properties(schema: dict[str, Any]) -> Iterable[str]:
    schemas = document()["components"]["schemas"]
    named = schemas[schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
    return sorted(named["properties"])


def _json_body(body: Any, headers: list[dict[str, Any]]) -> dict[str, Any]:
    raw = _NUMBER.sub(r"\1", json.dumps(_alive(body), indent=2, ensure_ascii=False))
    return {
        "header": [*headers, {"key": "Content-Type", "value": "application/json"}],
        "body": {"mode": "raw", "raw": raw, "options": {"raw": {"language": "json"}}},
    }


def _shown(content: dict[str, Any]) -> list[Any]:
    """The examples of a JSON body."""
    media = content.get("application/json", {})
    return [media["example"]] if "example" in media else [each["value"] for each in media.get("examples", {}).values()]


def _alive(value: Any, name: str = "") -> Any:
    """An example with variables for its ids and for its dates, which lie in the past. A `#` marks a number."""
    if isinstance(value, dict):
        return {key: _alive(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [_alive(item, name) for item in value]
    if name in IDS and isinstance(value, str | int):
        return _id(name, value) if isinstance(value, str) else f"#{_id(name, value)}"
    return _date(value) if isinstance(value, str) else value


def _id(name: str, example: str | int) -> str:
    if name == "booking_id" and isinstance(example, str):
        return "{{appointmentId}}"
    return f"{{{{{IDS[name]}}}}}"


def _date(value: str) -> str:
    """The examples play on one day: what is ahead of it there is as many days ahead of today here."""
    found = _DATE.fullmatch(value)
    days = (date.fromisoformat(found[1]) - DAY.date()).days if found else -1
    return f"{{{{in{days}days}}}}{found[2] or ''}" if found and 0 <= days <= DAYS_AHEAD else value


def _header(parameter: dict[str, Any]) -> dict[str, Any]:
    """Another key for each request that is sent; what has no example is there but not sent."""
    described = {"key": parameter["name"], "description": parameter["description"]}
    return described | ({"value": "{{$guid}}"} if parameter["name"] == HEADER else {"value": "", "disabled": True})


def _query(parameter: dict[str, Any]) -> dict[str, Any]:
    described = {"key": parameter["name"], "description": parameter["description"]}
    if "example" not in parameter:
        return described | {"value": "", "disabled": True}
    return described | {"value": str(_alive(parameter["example"], parameter["name"]))}


def _variable(parameter: dict[str, Any]) -> dict[str, Any]:
    name, example = parameter["name"], parameter["example"]
    value = _id(name, example) if name in IDS else str(example)
    return {"key": name, "value": value, "description": parameter["description"]}


def _url(path: str, query: list[dict[str, Any]], variables: list[dict[str, Any]]) -> dict[str, Any]:
    parts = [f":{part[1:-1]}" if part.startswith("{") else part for part in path.removeprefix("/").split("/")]
    sent = "&".join(f"{each['key']}={each['value']}" for each in query if not each.get("disabled"))
    raw = f"{{{{baseUrl}}}}/{'/'.join(parts)}" + (f"?{sent}" if sent else "")
    return {"raw": raw, "host": ["{{baseUrl}}"], "path": parts, "query": query, "variable": variables}


def _examples(described: Described, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The answers that the description shows."""
    for status, answer in _answers(described):
        for body in _shown(answer.get("content", {})):
            yield {
                "name": answer["description"],
                "originalRequest": {key: part for key, part in request.items() if key != "auth"},
                "code": status,
                "status": answer["description"],
                "header": [{"key": "Content-Type", "value": "application/json"}],
                "body": json.dumps(body, indent=2, ensure_ascii=False),
                "_postman_previewlanguage": "json",
            }


def _bearer(variable: str) -> dict[str, Any]:
    return {"type": "bearer", "bearer": [{"key": "token", "value": f"{{{{{variable}}}}}", "type": "string"}]}


def _script(listen: str, lines: Iterable[str]) -> dict[str, Any]:
    return {"listen": listen, "script": {"type": "text/javascript", "exec": list(lines)}}


def _step(step: Step, described: Described | None) -> dict[str, Any]:
    """A request of the walk-through. What no description has is a page for people: its address is a variable."""
    keyed = described is not None and described.method == "POST"
    request: dict[str, Any] = {
        "method": described.method if described else step.page_method,
        "description": step.description or (described.operation["description"] if described else ""),
        "auth": _bearer(step.token) if step.token else {"type": "noauth"},
        "header": [{"key": HEADER, "value": "{{$guid}}"}] if keyed else [],
        "url": _url(
            described.path,
            [{"key": key, "value": value} for key, value in step.query.items()],
            [{"key": key, "value": value} for key, value in step.path.items()],
        )
        if described
        else {"raw": step.page, "host": [step.page]},
    }
    if step.body is not None:
        request |= _json_body(step.body, request["header"])
    tests = [
        f'pm.test("The answer is {step.status}", () => pm.response.to.have.status({step.status}));',
        *(["const answer = pm.response.json();"] if step.keeps or step.checks else []),
        *(f'pm.collectionVariables.set("{variable}", {value});' for variable, value in step.keeps.items()),
        *(f"pm.test({json.dumps(name)}, () => {check});" for name, check in step.checks.items()),
    ]
    before = [
        *(f'pm.collectionVariables.set("{variable}", {value});' for variable, value in step.makes.items()),
        *step.waits,
    ]
    events = [_script("prerequest", before)] if before else []
    return {"name": step.name, "request": request, "event": [*events, _script("test", tests)], "response": []}


if __name__ == "__main__":
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    file.parent.mkdir(exist_ok=True)
    file.write_text(text(), encoding="utf-8")
    print(f"{file}: {sum(1 for _ in items(collection()))} requests")
