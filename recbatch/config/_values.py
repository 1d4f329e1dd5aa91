"""Settings as text, sizes and times, and what differs between two sets of them."""

from __future__ import annotations

import json
from typing import Any

from recbatch.config._base import Section
from recbatch.config._whole import Config
from recbatch.errors import ConfigError


def to_toml(config: Config) -> str:
    """The configuration as a commented TOML file that `load` reads back to an equal configuration."""
    lines: list[str] = []
    for name, field in Config.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, Section):
            lines += ["", f"[{name}]  # {(type(value).__doc__ or '').splitlines()[0]}"]
            for key, inner in type(value).model_fields.items():
                lines.append(_toml_line(key, getattr(value, key), inner.description))
        else:
            lines.append(_toml_line(name, value, field.description))
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A setting's value as TOML: JSON is, for the scalars and flat arrays used here; mappings become inline tables."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {toml_value(v)}" for key, v in value.items())
            + "}"
        )
    return json.dumps(value, ensure_ascii=False)


def changes(was: dict[str, Any], now: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Dotted key → {was, now} of every setting that differs, in key order; none where a side lacks the key."""
    before, after = _flat(was), _flat(now)
    return {
        key: {"was": before.get(key), "now": after.get(key)}
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    }


def memory_bytes(text: str) -> int:
    """Bytes in a size such as `4GiB`, `512MiB` or `1000000`.

    Raises:
        ConfigError: the text is not a positive size.
    """
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
    number, unit = (text[:-3], units[text[-3:]]) if text[-3:] in units else (text, 1)
    try:
        size = int(float(number) * unit)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise ConfigError(f"memory size {text!r}: expected a positive number with KiB, MiB or GiB, e.g. 4GiB")
    return size


def seconds(text: str) -> float:
    """Seconds in a time such as `90s`, `20m` or `1.5h`."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def _toml_line(key: str, value: Any, comment: str | None) -> str:
    # TOML has no null, so an unset key is shown commented out.
    text = f"# {key} =" if value is None else f"{key} = {toml_value(value)}"
    return f"{text}  # {' '.join((comment or '').split())}"


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat
