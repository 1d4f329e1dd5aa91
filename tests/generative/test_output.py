"""The output contract: whatever the world, the tables that a night writes pass every check that guards readers."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from jobs import _run
from recbatch import config, publish, schemas, score, views
from recbatch.index import ExactIndex
from recbatch.score import Catalogue, Ranker
from tests.unit import _lake_fixture as rows_of
from tests.unit._worlds import RUN_DATE, build

from ._examples import examples
from .test_laws import listed, some_towers, worlds

RUN_ID = f"{RUN_DATE}.1"
NOT_OF_LISTS = {"holdout_exists", "input_fresh"}
"""Nobody is judged here, and the input is told to no check."""


def written(folder: Path, world: Any, seed: int, settings: config.Config) -> Any:
    """Writes every table of a night whose model is any; returns the histories for the checks."""
    events, titles, users = world
    data = build(events, titles, users=listed(users))
    towers = some_towers(data, seed)
    popular = score.by_popularity(data, data.events, RUN_DATE, settings.popular)
    catalogue = Catalogue.of(towers, data)
    index = ExactIndex(catalogue.embeddings)
    ranker = Ranker(popular, towers, catalogue, index, settings.score.keep_seen)
    k, length = settings.score.k, settings.score.k + settings.score.buffer
    lists = ranker.rank(data.events, np.arange(data.num_users, dtype=np.int32), length)
    publish.write_table(folder, schemas.RECOMMENDATIONS, score.to_table(lists, data, last_rank=k))
    publish.write_table(folder, schemas.RECOMMENDATIONS_BUFFER, score.to_table(lists, data, first_rank=k + 1))
    plan = SimpleNamespace(
        ranker=ranker, popular=popular, neighbours=SimpleNamespace(index=ExactIndex(score.unit_vectors(catalogue)))
    )
    model = SimpleNamespace(head={"trained_before": RUN_DATE.isoformat()})
    outcome = SimpleNamespace(holdout=schemas.arrow(schemas.HOLDOUT).empty_table(), metrics=())
    tables = SimpleNamespace(quarantine=schemas.arrow(schemas.QUARANTINE).empty_table())
    _run.write_tables(folder, plan, model, outcome, data, tables, lists.lengths(k), settings, [])
    publish.write_table(folder, schemas.AUDITS, publish.audits_table([]))
    return _run.seen(data, settings)


@examples(8)
@given(worlds(), st.integers(0, 2**32 - 1), st.integers(1, 14), st.integers(0, 5), st.booleans())
def test_every_check_passes_in_every_world(world: Any, seed: int, k: int, buffer: int, keep_seen: bool) -> None:
    wanted = {"k": k, "buffer": buffer, "keep_seen": keep_seen, "similar": 3}
    settings = config.Config(score=config.Score(**wanted), popular=config.Popular(length=20))
    with TemporaryDirectory() as name:
        folder = Path(name) / "run"
        seen = written(folder, world, seed, settings)
        head = rows_of.head(RUN_ID, k=k, keep_seen=keep_seen)
        with views.over(folder, head, seen=seen) as con:
            found = views.run_checks(con)
            stranger = con.execute("select item_id, rank from recs_for('no such user')").fetchall()
            popular = con.execute("select item_id, rank from popular where segment = 'all' and rank <= $1", [k])
            assert stranger == popular.fetchall()
    failed = [audit for audit in found if audit.severity == "error" and not audit.passed]
    assert [audit for audit in failed if audit.check not in NOT_OF_LISTS] == []
