"""Finishes the Postman collection that the converter made: `script/postman` calls it.

The converter gives everything a random id, makes up values, knows one token only and lets a person copy it by hand.
Here each kind of token gets its variable, whatever logs in keeps its tokens for the requests after it, and a parameter
without an example is there but not sent.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interfaces.http.idempotency import HEADER
from tests.support.described import operations

FILE = Path(__file__).parents[2] / "docs" / "convene.postman_collection.json"
VARIABLES = {"userToken": "bearerToken", "refreshToken": "refreshToken", "serviceToken": "serviceToken"}
"""The collection's variable for each security scheme."""
KEPT = {"access_token": "bearerToken", "refresh_token": "refreshToken"}
"""What an answer holds that later requests need, and the variable that it goes to."""


def items(folder: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The requests of a collection, whatever folders they lie in."""
    for item in folder["item"]:
        if "request" in item:
            yield item
        else:
            yield from items(item)


def endpoint(request: dict[str, Any]) -> str:
    """As OpenAPI writes it: `GET /events/{event_id}`."""
    parts = [f"{{{part[1:]}}}" if part.startswith(":") else part for part in request["url"]["path"]]
    return f"{request['method']} /{'/'.join(parts)}"


def finished(collection: dict[str, Any]) -> dict[str, Any]:
    described = {str(operation): operation.operation for operation in operations()}
    for item in items(collection):
        operation = described[endpoint(item["request"])]
        for scheme in (name for security in operation["security"] for name in security):
            item["request"]["auth"] = _bearer(VARIABLES[scheme])
        item["response"] = [response for response in item["response"] if response["code"] < 400]
        for request in (item["request"], *(response["originalRequest"] for response in item["response"])):
            request["url"]["query"] = _only_examples(request["url"]["query"], operation)
            request["header"] = [_new_key(header) for header in request.get("header", [])]
        if kept := [name for name in KEPT if any(name in response.get("body", "") for response in item["response"])]:
            item["event"] = [{"listen": "test", "script": {"type": "text/javascript", "exec": _keep(kept)}}]
    collection["variable"] += [{"key": variable, "value": ""} for variable in VARIABLES.values()]
    stable: dict[str, Any] = _without_ids(collection)
    return stable


def _only_examples(query: list[dict[str, Any]], operation: dict[str, Any]) -> list[dict[str, Any]]:
    """The converter makes up values for what has no example, a cursor for instance, which would be refused."""
    shown = {parameter["name"] for parameter in operation.get("parameters", []) if "example" in parameter}
    return [each if each["key"] in shown else each | {"value": "", "disabled": True} for each in query]


def _new_key(header: dict[str, Any]) -> dict[str, Any]:
    """Another key for each request that is sent: the converter makes one up for all of them."""
    return header | {"value": "{{$guid}}"} if header["key"] == HEADER else header


def _bearer(variable: str) -> dict[str, Any]:
    return {"type": "bearer", "bearer": [{"key": "token", "value": f"{{{{{variable}}}}}", "type": "string"}]}


def _keep(names: list[str]) -> list[str]:
    lines = [f'  pm.collectionVariables.set("{KEPT[name]}", pm.response.json().{name});' for name in names]
    return ["if (pm.response.code < 300) {", *lines, "}"]


def _without_ids(part: Any) -> Any:
    if isinstance(part, list):
        return [_without_ids(item) for item in part]
    if not isinstance(part, dict):
        return part
    return {key: _without_ids(value) for key, value in part.items() if key not in {"id", "_postman_id"}}


if __name__ == "__main__":
    made = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    text = json.dumps(finished(made), indent=1, ensure_ascii=False) + "\n"
    Path(sys.argv[2]).write_text(text, encoding="utf-8")
    print(f"{sys.argv[2]}: {sum(1 for _ in items(made))} requests")
