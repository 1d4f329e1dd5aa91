"""From a published run back to what it was scored with: its input, its model, its biases of that night."""

from __future__ import annotations

from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import ValidationError

from recbatch import dataset, publish, score, sources, split, store, train, withdrawn
from recbatch.config import Config
from recbatch.contracts import Bools, Dataset, Exclusions, Json, SourceTables
from recbatch.errors import ConfigError, DataError, InputMissing, UsageError
from recbatch.model import HistoryTowers
from recbatch.score import Catalogue, Ranker
from recbatch.serving import Histories, Ladder, Members, ServingTables
from recbatch.store import Lake

from ._items import leave_out
from ._rules import require_same_files, rule_book
from ._say import Say, now


def tables_of(lake: Lake, run: Json, config: Config, say: Say) -> ServingTables:
    """Everything that answers like a run's published table.

    Args:
        lake: where the run's model stands.
        run: manifest of the run.
        config: the run's settings; its source is read again, because the lake keeps no histories.
        say: hears of stages.

    Raises:
        InputMissing: the run has no model, or its model is gone.
        DataError: the source has other events, items or users than on the night.
    """
    if not run.get("model_id"):
        raise InputMissing(f"run {run['run_id']} has lists by popularity only; export a run with a model, see --run")
    say.stage("read")
    tables, data = input_of(lake, run, config, say)
    book = rule_book(config, data, tables)
    require_same_files(book, run)
    rules = book.rules(data.run_date)
    if rules.caps is not None or rules.pins is not None:
        raise UsageError(
            f"run {run['run_id']} has rules.at_most or rules.pins, which a SavedModel cannot obey; serve its published"
            " lists, e.g. by `recbatch export-lookup`"
        )
    say.stage("model")
    head = store.read_checked_json(lake.models / run["model_id"] / store.MANIFEST)
    towers = train.load(lake, run["model_id"], train.SERVED).with_items(data)
    everything = score.by_popularity(data, data.events, data.run_date, config.popular)
    popular = score.only(everything, rules.eligible)
    before = split.microseconds(date.fromisoformat(head["trained_before"]))
    learned = data.events.where(data.events.occurred_at < before)
    frozen = config.score.fashion == "trained"
    catalogue = Catalogue.of(towers, data, everything.shares, learned, rules=rules, as_trained=frozen)
    gone = _withdrawn(lake, data)
    offered = ~gone[catalogue.positions]
    return ServingTables(
        item_ids=data.item_ids,
        titles=data.titles,
        candidates=catalogue.embeddings[offered],
        positions=catalogue.positions[offered],
        ladder=Ladder.of(popular, catalogue.row_of_item >= 0, gone),
        members=_members(data, towers, catalogue, Ranker(popular, keep_seen=run["keep_seen"], rules=rules)),
        histories=_histories(tables, data, towers, catalogue, merge=config.source.merge_by_title, run=run),
    )


def input_of(lake: Lake, run: Json, config: Config, say: Say) -> tuple[SourceTables, Dataset]:
    """What the night read: without the users forgotten and the titles withdrawn by then.

    Raises:
        DataError: the source has other events, items or users than on the night.
    """
    day, merge = date.fromisoformat(run["run_date"]), config.source.merge_by_title
    tables = sources.read(config.source, before=day, today=now().date(), progress=say.progress)
    tables = dataset.without_users(tables, publish.forgotten(lake))
    names = dict(zip(tables.items["item_id"].to_pylist(), tables.items["title"].to_pylist(), strict=True))
    tables = leave_out(
        tables, {item: names.get(item, item) for item in run.get("withdrawn") or ()}, merge_by_title=merge
    )
    data = dataset.build(tables, config.dataset, day, merge_by_title=merge)
    if data.fingerprint != run["fingerprint"]:
        raise DataError(
            f"{config.source.uri}: not the input that run {run['run_id']} was made from (events, items or users before"
            f" {day} changed, or a user was forgotten since); name a copy with --source, or use a later run"
        )
    return tables, data


def _withdrawn(lake: Lake, data: Dataset) -> Bools:
    """Shape (items,): titles withdrawn since."""
    ids = pa.array(list(withdrawn.read(lake)), pa.string())
    return np.asarray(pc.is_in(data.item_ids, value_set=ids).to_numpy(zero_copy_only=False), dtype=np.bool_)


def _members(data: Dataset, towers: HistoryTowers, catalogue: Catalogue, ranker: Ranker) -> Members:
    known = catalogue.histories(data.events)
    profiles = towers.profiles(data)
    seen = ranker.barred(data.events, np.arange(data.num_users, dtype=np.int32))
    everybody_else = len(seen.items)
    return Members(
        ids=data.user_ids,
        queries=np.concatenate([towers.embed(known, profiles), towers.query_bias[None]]),
        by_model=np.append(score.known_to_model(known, profiles), False),
        segments=np.append(ranker.popular.segment_of_user, 0).astype(np.int32),
        seen=Exclusions(np.append(seen.offsets, everybody_else), seen.items),
    )


def _histories(
    tables: SourceTables, data: Dataset, towers: HistoryTowers, catalogue: Catalogue, *, merge: bool | None, run: Json
) -> Histories:
    ids, positions = data.item_ids, np.arange(data.num_items, dtype=np.int32)
    if tables.merge_by_title if merge is None else merge:
        ids = tables.items["item_id"].combine_chunks()
        found = pc.index_in(tables.items["title"].combine_chunks(), value_set=data.titles)
        positions = np.asarray(found, dtype=np.int32)
    return Histories(
        ids=ids,
        positions=positions,
        rows=catalogue.row_of_item,
        vectors=towers.history,
        widths=towers.widths,
        readings=towers.readings,
        query_bias=towers.query_bias,
        exclude_seen=not run["keep_seen"],
    )


def config_of(run: Json, source: str | None, data_dir: str | None) -> Config:
    """The settings that a run was made with; another place for its source where one is named."""
    try:
        config = Config.model_validate(run["config"])
    except ValidationError as error:
        raise ConfigError(
            f"run {run['run_id']} was made by recbatch {run['recbatch']} with settings that this one does not know;"
            " export a run of this version"
        ) from error
    changed = {key: value for key, value in (("uri", source), ("data_dir", data_dir)) if value is not None}
    return config.model_copy(update={"source": config.source.model_copy(update=changed)})
