"""The form of use cases: `application/use_cases.py` says what it saves."""

import importlib
import inspect
import pkgutil
from dataclasses import is_dataclass
from typing import Any

import application
from application.events.queries import ShowEvent
from application.use_cases import use_case


def test_classes_with_asynchronous_methods_have_the_form_of_use_cases() -> None:
    assert [name for name, kind in classes().items() if acts(kind) and is_frozen(kind)] == []


def test_use_case_compares_by_identity_and_keeps_its_fields() -> None:
    @use_case
    class Count:
        step: int

        async def __call__(self) -> None: ...

    one = Count(step=2)
    assert one.step == 2
    assert one != Count(step=2)


def test_rule_finds_use_cases() -> None:
    assert acts(classes()["application.events.queries.ShowEvent"])
    assert is_dataclass(ShowEvent)


def classes() -> dict[str, type[Any]]:
    """Those of the application."""
    modules = pkgutil.walk_packages(application.__path__, "application.")
    return {
        f"{module.name}.{name}": kind
        for module in modules
        for name, kind in vars(importlib.import_module(module.name)).items()
        if inspect.isclass(kind) and kind.__module__ == module.name
    }


def acts(kind: type[Any]) -> bool:
    return is_dataclass(kind) and any(inspect.iscoroutinefunction(member) for member in vars(kind).values())


def is_frozen(kind: type[Any]) -> bool:
    return bool(vars(kind)["__dataclass_params__"].frozen)
