"""Commands, options and arguments of `convene` and of `python -m crm`, without help texts."""

import argparse
from enum import Enum
from pathlib import Path
from typing import Any

import click

from crm.__main__ import _parser
from interfaces.cli import convene

_ARGPARSE_TYPES: dict[Any, str] = {int: "integer", Path: "path", None: "text"}


def booking_api() -> dict[str, Any]:
    context = click.Context(convene, **convene.context_settings)
    return {"help": context.help_option_names, **_command(convene, context)}


def crm() -> dict[str, Any]:
    return _parsed(_parser())


def _command(command: click.Command, context: click.Context) -> dict[str, Any]:
    structure: dict[str, Any] = {"parameters": [_parameter(each, context) for each in command.params]}
    if command.hidden:
        structure["hidden"] = True
    if isinstance(command, click.Group):
        named = {name: command.get_command(context, name) for name in command.list_commands(context)}
        found = {name: each for name, each in named.items() if each is not None}
        structure["commands"] = {
            name: _command(each, click.Context(each, parent=context)) for name, each in found.items()
        }
    return structure


def _parameter(parameter: click.Parameter, context: click.Context) -> dict[str, Any]:
    structure: dict[str, Any] = {
        "names": [*parameter.opts, *parameter.secondary_opts],
        "type": _type(parameter.type),
        "default": _value(parameter.get_default(context, call=False)),
        "required": parameter.required,
        "nargs": parameter.nargs,
        "multiple": parameter.multiple,
    }
    if isinstance(parameter, click.Argument):
        structure["names"] = [parameter.make_metavar(context)]
    if isinstance(parameter, click.Option):
        structure |= {"flag": parameter.is_flag, "count": parameter.count, "hidden": parameter.hidden}
    structure["environment"] = parameter.envvar
    unsaid: dict[str, Any] = {"default": None, "nargs": 1, "environment": None}
    return {key: value for key, value in structure.items() if value is not unsaid.get(key, False)}


def _type(kind: "click.ParamType[Any]") -> Any:
    match kind:
        case click.Choice():
            return [_value(choice) for choice in kind.choices]
        case click.IntRange() | click.FloatRange():
            return {"number": kind.name, "from": kind.min, "to": kind.max}
        case click.Tuple():
            return {"tuple": [_type(each) for each in kind.types]}
        case _:
            return kind.name


def _value(value: Any) -> Any:
    match value:
        case None | bool() | int() | float() | str():
            return value
        case Enum():
            return value.value if isinstance(value.value, str | int) else None  # click has a sign for no default
        case Path():
            return str(value)
        case tuple() | list():
            return [_value(each) for each in value]
        case _:
            return "computed" if callable(value) else str(value)


def _parsed(parser: argparse.ArgumentParser) -> dict[str, Any]:
    structure: dict[str, Any] = {"parameters": []}
    for action in parser._actions:  # argparse shows them nowhere else
        if isinstance(action, argparse._SubParsersAction):
            structure["commands"] = {name: _parsed(each) for name, each in action.choices.items()}
            structure["command required"] = action.required
        else:
            described = {
                "names": list(action.option_strings) or [str(action.metavar or action.dest)],
                "type": _ARGPARSE_TYPES.get(action.type, "checked"),
                "default": None if action.default is argparse.SUPPRESS else _value(action.default),
                "choices": list(action.choices) if action.choices else None,
                "required": action.required,
                "nargs": action.nargs,
            }
            structure["parameters"].append({key: each for key, each in described.items() if each not in (None, False)})
    return structure
