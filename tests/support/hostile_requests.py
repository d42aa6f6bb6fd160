"""Requests of at most 64 KiB that make a careless server work hard, for every operation of an OpenAPI document."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

SIZE = 63 * 1024
HEAD = 15 * 1024
MARKS = "a" + "\u0301\u0316" * 15_000
UUID = "019391f1-1e6b-7000-8000-000000000001"

VALUES: dict[str, str] = {
    "combining marks": json.dumps(MARKS, ensure_ascii=False),
    "letters": json.dumps("x" * SIZE),
    "address": json.dumps("x" * 30_000 + "@" + "a." * 15_000 + "example"),
    "spaces": json.dumps(" " * SIZE + "x"),
    "escapes": '"' + "\\\\" * (SIZE // 2) + '"',
    "digits": "9" * SIZE,
    "runs of digits": "[" + ",".join(["9" * 399] * (SIZE // 400)) + "]",
    "exponent": "1E+99999999",
    "fraction": "0." + "0" * SIZE + "1",
    "array": "[" + ",".join("0" * (SIZE // 2)) + "]",
    "objects": "[" + ",".join(["{}"] * (SIZE // 3)) + "]",
    "keys": "{" + ",".join(f'"k{n}":0' for n in range(SIZE // 11)) + "}",
}
"""JSON, each in the place of one field of the body."""
BODIES: dict[str, bytes] = {
    "nested arrays": b"[" * SIZE,
    "nested objects": b'{"a":' * (SIZE // 5),
    "quotes": b'"\\' * (SIZE // 2),
    "many keys": ("{" + ",".join(f'"k{n}":0' for n in range(SIZE // 11)) + "}").encode(),
    "one key twice": ("{" + ",".join(['"email":"a"'] * (SIZE // 12)) + "}").encode(),
    "not UTF-8": b'{"a":"' + b"\xff" * SIZE + b'"}',
}
FIELDS: dict[str, str] = {
    "Cookie": "; ".join(f"c{n}=v" for n in range(3_000)),
    "Authorization": "Bearer " + "a." * 14_000,
    "Accept": ", ".join(f"a/b{n};q=0.1" for n in range(1_500)),
    "If-None-Match": ", ".join(f'"{n}"' for n in range(3_000)),
    "X-Forwarded-For": ", ".join(["10.0.0.1"] * 2_800),
    "Origin": "https://" + "a." * 14_000,
    "Content-Type": "application/json" + ";a=b" * 7_000,
    "Idempotency-Key": "x" * 30_000,
    "traceparent": "00-" + "a" * 30_000,
}
QUERY: dict[str, str] = {"marks": "\u0301\u0316" * (HEAD // 12), "digits": "9" * HEAD, "commas": "," * HEAD}


@dataclass(frozen=True, slots=True)
class Hostile:
    operation: str
    kind: str
    data: bytes


def of_document(document: dict[str, Any], tokens: dict[str, str]) -> Iterator[Hostile]:
    """For each operation of the document, each of `tokens` (by a name for it) and without one."""
    for path, item in sorted(document["paths"].items()):
        for method, operation in sorted(item.items()):
            if method not in {"get", "post", "put", "patch", "delete"}:
                continue
            for name, token in [("none", ""), *tokens.items()]:
                yield from _of_operation(document, path, method.upper(), operation, name, token)


def _of_operation(
    document: dict[str, Any], path: str, method: str, operation: dict[str, Any], name: str, token: str
) -> Iterator[Hostile]:
    label = f"{method} {path} as {name}"
    plain = re.sub(r"{(\w+)}", lambda found: UUID if "coach" in found[1] or "/booking/" in path else "1", path)
    bearer = {"Authorization": f"Bearer {token}"} if token else {}

    def hostile(kind: str, target: str = plain, body: bytes = b"", field: tuple[str, str] | None = None) -> Hostile:
        headers = bearer | {"Content-Type": "application/json"} | dict([field] if field else [])
        return Hostile(label, kind, _request(method, target, headers, body))

    yield hostile("plain")
    for kind, value in FIELDS.items():
        yield hostile(f"header {kind}", field=(kind, value))
    yield hostile("many parameters", plain + "?" + "&".join(f"k{n}=v" for n in range(1_800)))
    yield hostile("percent signs", plain + "?q=" + "%CC%81" * (HEAD // 6))
    if "{" in path:
        yield hostile("long path", re.sub(r"{\w+}", "%CC%81" * (HEAD // 6), path, count=1))
        yield hostile("digits in the path", re.sub(r"{\w+}", "9" * HEAD, path, count=1))
    for parameter in operation.get("parameters", []):
        if parameter["in"] == "query":
            for kind, value in (
                ("marks", "\u0301\u0316" * (HEAD // 12)),
                ("digits", "9" * HEAD),
                ("commas", "," * HEAD),
            ):
                yield hostile(
                    f"parameter {parameter['name']} {kind}", f"{plain}?{parameter['name']}={quote(value, ',')}"
                )
    if "requestBody" not in operation:
        return
    for kind, body in BODIES.items():
        yield hostile(kind, body=body)
    content = operation["requestBody"]["content"]
    if "multipart/form-data" in content:
        part = b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n\r\n'
        yield hostile(
            "many parts",
            body=part * (SIZE // len(part)) + b"--b--",
            field=("Content-Type", "multipart/form-data; boundary=b"),
        )
        yield hostile(
            "no boundary", body=b"-" * SIZE, field=("Content-Type", "multipart/form-data; boundary=" + "-" * 70)
        )
        return
    example = _example(content.get("application/json", {}))
    for field in sorted({*example, *_fields(document, content.get("application/json", {}).get("schema", {}))}):
        others = {key: value for key, value in example.items() if key != field}
        start = json.dumps(others)[:-1] + (", " if others else "") + json.dumps(field) + ": "
        for kind, value in VALUES.items():
            yield hostile(f"field {field} {kind}", body=(start + value + "}").encode())


def _request(method: str, target: str, headers: dict[str, str], body: bytes) -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def _example(media: dict[str, Any]) -> dict[str, Any]:
    examples = (
        [media["example"]] if "example" in media else [each["value"] for each in media.get("examples", {}).values()]
    )
    return next((dict(each) for each in examples if isinstance(each, dict)), {})


def _fields(document: dict[str, Any], schema: dict[str, Any]) -> set[str]:
    if "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    found = set(schema.get("properties", {}))
    for kind in ("anyOf", "oneOf", "allOf"):
        for each in schema.get(kind, []):
            found |= _fields(document, each)
    return found
