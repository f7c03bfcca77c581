"""Why a text is no report, in words for whoever has the file: cut off, no JSON, another version, a field.

`json` and pydantic tell where they stumbled and not what happened.  A JSON text that was cut off makes `json`
stumble at its very end, over a word or a number that is not finished, or over a string without an end.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from json import JSONDecodeError
from typing import Any

from pydantic import ValidationError

from lipaudit.report.wording import printable

__all__ = ["CUT", "field_words", "json_words"]

CUT = "the file ends in the middle"
_WORDS = ("true", "false", "null", "NaN", "-Infinity")
_NUMBER = re.compile(r"-?\.?(?:[eE][+-]?)?")  # what of an unfinished number is left over
_ESCAPE = 6  # characters of a \u1234 that may be cut
_SHOWN = 12
_KINDS = {
    "missing": "is missing",
    "extra_forbidden": "is no field of this schema",
    "string_type": "should be text",
    "float_type": "should be a number",
    "int_type": "should be a whole number",
    "int_from_float": "should be a whole number",
    "bool_type": "should be true or false",
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be an object",
    "model_type": "should be an object",
    "model_attributes_type": "should be an object",
    "string_pattern_mismatch": "is not written as it should be",
}


def json_words(text: str, error: ValueError | RecursionError) -> str:
    """Why a text is no JSON document.

    Args:
        text: all of it.
        error: what `json.loads` raised.
    """
    whole = text.strip()
    if not whole:
        return "the file is empty"
    if not isinstance(error, JSONDecodeError):
        return "nested too deeply" if isinstance(error, RecursionError) else str(error)
    if whole[0] not in "{[":
        return f"no JSON: it begins with {printable(whole[:_SHOWN])}"
    return _place_words(text.rstrip(), error)


def _place_words(text: str, error: JSONDecodeError) -> str:
    if _is_cut(text, error):
        return f"{CUT}, in line {text.count(chr(10)) + 1}: it was cut off"
    if error.msg == "Extra data":
        return f"something follows the end of the JSON, in line {error.lineno}"
    return f"no JSON from line {error.lineno}, column {error.colno} on"


def _is_cut(text: str, error: JSONDecodeError) -> bool:
    rest = text[error.pos :]
    if _NUMBER.fullmatch(rest):
        return True
    if error.msg.startswith("Unterminated string") or any(word.startswith(rest) for word in _WORDS):
        return True
    return "escape" in error.msg and len(rest) <= _ESCAPE


def field_words(document: Mapping[str, Any], error: ValidationError, versions: Collection[str]) -> str:
    """Which field of a JSON document keeps it from being a report, and why.

    Args:
        document: what the JSON says.
        error: what the model of a report raised.
        versions: of the schema, those that are read.
    """
    if "payloadType" in document:
        return "it is an attestation, which `lipaudit verify` reads"
    lacking = [name for name in ("schema_version", "evidence") if name not in document]
    if lacking:
        return f"it has no {' and no '.join(lacking)}"
    version = document["schema_version"]
    if version not in versions:
        return f"its schema is {printable(str(version)[:_SHOWN])}"
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    kind = first["type"]
    if kind == "value_error":
        reason = str(first["ctx"]["error"])
        return printable(f"{where}: {reason}" if where else reason)
    return printable(f"{where} {_KINDS.get(kind) or _lowered(str(first['msg']))}")


def _lowered(message: str) -> str:
    return message.replace("Input should", "should", 1)
