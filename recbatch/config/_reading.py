"""Settings from files, flags and manifests."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from recbatch.config._base import Section
from recbatch.config._whole import Config
from recbatch.errors import ConfigError, InputMissing


def load(path: Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """Settings from a TOML file with overrides laid over it.

    Args:
        path: the file; none for defaults only.
        overrides: dotted key → value, e.g. {"score.k": 50}. A value that is a string is read as TOML where it parses
            as TOML ("50", "true", "[1, 2]"), as text otherwise.

    Returns:
        The frozen configuration.

    Raises:
        InputMissing: `path` does not exist.
        ConfigError: not TOML, an unknown key, a wrong type or a value out of range; names file and key.
    """
    values: dict[str, Any] = {}
    if path is not None:
        if not path.is_file():
            raise InputMissing(f"{path}: no such configuration file; write one with `recbatch config show > {path}`")
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid TOML: {error}; correct that line") from error
    for key, value in (overrides or {}).items():
        _put(values, key, _parsed(value))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from error


def of_record(values: dict[str, Any]) -> Config:
    """Settings as a manifest holds them, by this release or another: keys that are unknown here are left out.

    Raises:
        ConfigError: a value is out of this release's range.
    """
    known: dict[str, Any] = {}
    for name, field in Config.model_fields.items():
        section, value = field.annotation, values.get(name)
        if isinstance(section, type) and issubclass(section, Section) and isinstance(value, dict):
            known[name] = {key: inner for key, inner in value.items() if key in section.model_fields}
        elif name in values:
            known[name] = value
    try:
        return Config.model_validate(known)
    except ValidationError as error:
        raise ConfigError(_explain(error, None)) from error


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {section} is a value, not a section; see `recbatch config show`")
    values[last] = value


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return value


def _explain(error: ValidationError, path: Path | None) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    where = f"{path}: " if path else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _keys(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "see `recbatch config show` for every key"
        return f"{where}unknown setting {key}; {hint}"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}setting {key or 'combination'}: {message}, got {first['input']!r:.80}; see `recbatch config show`"


def _keys() -> list[str]:
    keys: list[str] = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, Section):
            keys += [name, *(f"{name}.{key}" for key in section.model_fields)]
        else:
            keys.append(name)
    return keys
