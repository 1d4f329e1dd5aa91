"""Tonight's rules: the settings of `[rules]`, read together with their files and tonight's data into arrays."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch import rules, score, sources, split, store
from recbatch.config import Config, toml_value
from recbatch.config import Rules as Settings
from recbatch.contracts import (
    DAY_MICROSECONDS,
    Bools,
    Dataset,
    Exclusions,
    Float32s,
    InputFile,
    Int32s,
    Json,
    SourceTables,
)
from recbatch.errors import DataError
from recbatch.rules import Caps, Denial, Pin, Rules


@dataclass(frozen=True, slots=True)
class RuleBook:
    """The rules of one night, whole or without one of them."""

    settings: Settings
    data: Dataset
    item_ids: pa.Array
    """Ids by which a title may be called, those merged into another included."""
    item_of_id: Int32s
    """Shape (item_ids,): position of each."""
    items: pa.Table
    """What a condition may ask: one row per title, in position order."""
    denial: Denial | None = None
    """Rows that hold tonight."""
    pin: Pin | None = None
    files: dict[str, InputFile] = field(default_factory=dict)
    """By setting, `deny` and `pins`."""

    @property
    def active(self) -> dict[str, Settings]:
        """Each rule by the name that people read → the settings without it."""
        chosen, found = self.settings, dict[str, Settings]()
        for key in ("seen_window_days", "deny", "eligible", "pins"):
            if getattr(chosen, key) is not None:
                found[key] = chosen.model_copy(update={key: None})
        for key in ("at_most", "boosts"):
            entries = getattr(chosen, key)
            for name in entries:
                rest = {other: value for other, value in entries.items() if other != name}
                found[f"{key}.{name}"] = chosen.model_copy(update={key: rest})
        return found

    def setting(self, rule: str) -> str:
        """The value of an active rule, as TOML."""
        key, _, name = rule.partition(".")
        value = getattr(self.settings, key)
        return toml_value(value[name] if name else value)

    @property
    def file_facts(self) -> Json:
        """Setting → name, sha256 and rows of its file."""
        return {key: {"name": file.name, "sha256": file.sha256, "rows": file.rows} for key, file in self.files.items()}

    def denied_until(self, user: str, item: int) -> str | None:
        """The last day, as ISO text, before which the title (a position) is denied; none: for ever."""
        if self.denial is None:
            return None
        names = self.item_ids.filter(pa.array(self.item_of_id == item))
        mine = pc.and_(pc.equal(self.denial.users, user), pc.is_in(self.denial.items, value_set=names))
        days = self.denial.until.filter(mine).to_pylist()
        return None if None in days else max(days).isoformat()

    def rules(self, on: date, settings: Settings | None = None) -> Rules:
        """The rules as arrays.

        Args:
            on: the morning on which the lists are made; what was seen within the window before it is left out.
            settings: those of the book, or a part of them as `active` has it.

        Raises:
            ConfigError: an expression or a column is none.
            DataError: no title is eligible, or a pin is for users that nobody is.
        """
        chosen = settings or self.settings
        return Rules(
            seen_since=None if chosen.seen_window_days is None else _days_before(on, chosen.seen_window_days),
            eligible=self._eligible(chosen),
            denied=self._denied() if chosen.deny else None,
            caps=Caps.of(chosen.at_most, self.items) if chosen.at_most else None,
            pins=rules.pinned(self.pin, self.data.users, self.item_ids, self.item_of_id, self.files["pins"].name)
            if self.pin and chosen.pins
            else None,
            bias=self._bias(chosen),
            digest=hashlib.sha256(store.canonical(self.file_facts)).hexdigest() if self.files else "",
        )

    def laws(self, rules: Rules) -> dict[str, pa.Table]:
        """What the checks need to know of tonight's rules, by the name of the view: see `views.over`."""
        data, found = self.data, dict[str, pa.Table]()
        if rules.denied is not None:
            users = np.repeat(np.arange(data.num_users, dtype=np.int32), np.diff(rules.denied.offsets))
            found["denied"] = pairs_table(users, rules.denied.items, data)
        if rules.eligible is not None:
            found["ineligible"] = pa.table({"item_id": data.item_ids.filter(pa.array(~rules.eligible))})
        if rules.caps is not None:
            item, place = np.nonzero(rules.caps.values < len(rules.caps.names))
            code = rules.caps.values[item, place]
            found["limits"] = pa.table(
                {
                    "item_id": data.item_ids.take(pa.array(item)),
                    "value": pa.array(rules.caps.names).take(pa.array(code)),
                    "at_most": pa.array(rules.caps.limits[code]),
                }
            )
        if rules.pins is not None:
            segment, user = np.nonzero(rules.pins.members)
            found["pins"] = pa.table(
                {
                    "place": pa.array(np.arange(1, len(rules.pins.items) + 1)),
                    "item_id": data.item_ids.take(pa.array(rules.pins.items)),
                    "segment": pa.array(rules.pins.segment),
                }
            )
            found["pinned_for"] = pa.table(
                {"segment": pa.array(segment.astype(np.int32)), "user_id": data.user_ids.take(pa.array(user))}
            )
        return found

    def _eligible(self, chosen: Settings) -> Bools | None:
        if chosen.eligible is None:
            return None
        met = rules.condition(chosen.eligible, self.items, "rules.eligible")
        if not met.any():
            raise DataError(
                f"rules.eligible: none of tonight's {len(met):,} titles meets {chosen.eligible!r};"
                " correct the expression or the items"
            )
        return met

    def _denied(self) -> Exclusions | None:
        if self.denial is None:
            return None
        return rules.denied(self.denial, self.data.user_ids, self.item_ids, self.item_of_id)

    def _bias(self, chosen: Settings) -> Float32s | None:
        if not chosen.boosts:
            return None
        bias = np.zeros(self.data.num_items)
        for condition, factor in chosen.boosts.items():
            bias[rules.condition(condition, self.items, f"rules.boosts.{condition!r}")] += np.log(factor)
        return bias.astype(np.float32)


def require_same_files(book: RuleBook, run: Json) -> None:
    """Refuses to speak for a run whose files of rules have changed since.

    Raises:
        DataError: a file is not what the night read.
    """
    for key, facts in (run.get("rule_files") or {}).items():
        if key in book.files and book.files[key].sha256 != facts["sha256"]:
            raise DataError(
                f"{facts['name']}: not the file of rules.{key} that run {run['run_id']} was made with; put that back,"
                " or try again after the next night"
            )


def pairs_table(users: Int32s, items: Int32s, data: Dataset) -> pa.Table:
    """(user_id, item_id) of pairs of positions, as dictionaries of all names."""
    columns = {"user_id": (users, data.user_ids), "item_id": (items, data.item_ids)}
    return pa.table({name: pa.DictionaryArray.from_arrays(rows, ids) for name, (rows, ids) in columns.items()})


def rule_book(config: Config, data: Dataset, tables: SourceTables) -> RuleBook:
    """Reads the files of tonight's rules.

    Args:
        config: settings.
        data: tonight's.
        tables: what it was built from; has the ids of merged titles.

    Raises:
        InputMissing: a file is not there.
        DataError: a row of it is wrong; names file, row and cure.
    """
    settings, files = config.rules, dict[str, InputFile]()
    denial = pin = None
    if settings.deny is not None:
        table, files["deny"] = sources.read_table(Path(settings.deny), "rules.deny")
        denial = rules.parse_denials(table, settings.deny).on(data.run_date)
    if settings.pins is not None:
        table, files["pins"] = sources.read_table(Path(settings.pins), "rules.pins")
        pin = rules.parse_pins(table, settings.pins)
    ids, positions = _names_of_items(config, data, tables)
    return RuleBook(settings, data, ids, positions, _askable(data), denial, pin, files)


def _names_of_items(config: Config, data: Dataset, tables: SourceTables) -> tuple[pa.Array, Int32s]:
    merge = config.source.merge_by_title
    if tables.merge_by_title if merge is None else merge:
        found = pc.index_in(tables.items["title"].combine_chunks(), value_set=data.titles)
        return tables.items["item_id"].combine_chunks(), np.asarray(found, dtype=np.int32)
    return data.item_ids, np.arange(data.num_items, dtype=np.int32)


def _askable(data: Dataset) -> pa.Table:
    """The table `items` as the run will have it, except `in_vocabulary`, which is the model's; in position order."""
    table = score.item_table(data, np.ones(data.num_items, dtype=np.bool_)).drop_columns(["in_vocabulary"])
    return table.take(pc.index_in(data.item_ids, value_set=table["item_id"].combine_chunks()))


def _days_before(day: date, days: int) -> int:
    return split.microseconds(day) - days * DAY_MICROSECONDS
