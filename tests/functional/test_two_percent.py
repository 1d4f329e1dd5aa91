"""What a night costs on which 2 % of a million users have news: shards as a night writes them, towers of the default size.

The towers are random, so nothing is trained; what is read, embedded, searched, kept and written is what a night does.
"""

import math
import shutil
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

from jobs import _kept, _shards
from jobs._say import Say
from recbatch import config, dataset, publish, schemas, score, store
from recbatch.contracts import SourceTables
from recbatch.index import ExactIndex
from recbatch.model import History, Part, concatenate
from recbatch.score import Catalogue, Ranker
from recbatch.store import Lake

TITLES, EVENTS_EACH, DAY = 5_000, 8, 86_400
SETTINGS = config.Config(score=config.Score(fashion="trained"))
WIDTH = SETTINGS.train.embedding_dim // 2
FIRST, SECOND = date(2024, 5, 1), date(2024, 5, 2)


def night(users: int, run_date: date):
    """Eight events each in the 60 days before `FIRST`, and on that day news of one user in fifty."""
    random = np.random.default_rng(1)
    who = np.repeat(np.arange(users), EVENTS_EACH)
    what = (random.random(len(who)) ** 2 * TITLES).astype(int)
    when = random.integers(-60 * DAY, 0, len(who))
    if run_date > FIRST:
        some = random.choice(users, users // 50, replace=False)
        who, what = np.append(who, some), np.append(what, random.integers(0, TITLES, len(some)))
        when = np.append(when, random.integers(0, DAY, len(some)))
    ids = pa.array([f"u{number:07d}" for number in range(users)])
    items = pa.array([str(number) for number in range(TITLES)])
    nothing = pa.nulls(len(who), pa.float32())
    events = {
        "user_id": ids.take(pa.array(who)),
        "item_id": items.take(pa.array(what)),
        "occurred_at": pa.array(np.datetime64(FIRST, "us") + when.astype("timedelta64[s]")),
        "rating": nothing,
        "weight": nothing,
    }
    catalogue = pa.table({"item_id": items, "title": [f"Title {number}" for number in range(TITLES)]})
    no_users, no_rows = (
        pa.table({"user_id": pa.array([], pa.string())}),
        schemas.arrow(schemas.QUARANTINE).empty_table(),
    )
    tables = SourceTables(pa.table(events), catalogue, no_users, no_rows, (), merge_by_title=False)
    return dataset.build(tables, SETTINGS.dataset, run_date)


def ranker(data) -> Ranker:
    random = np.random.default_rng(2)

    def part(reading):
        tables = random.normal(size=(2, TITLES, WIDTH)).astype(np.float32)
        return Part(*tables, np.zeros(TITLES, np.float32), np.zeros(WIDTH, np.float32), reading)

    readings = (History(half_life_events=10.0, max_history=500), History(half_life_events=math.inf, max_history=500))
    towers = concatenate(data.item_ids, [part(reading) for reading in readings], [1.0, 1.0])
    catalogue = Catalogue.of(towers, data)
    popular = score.by_popularity(data, data.events, data.run_date, SETTINGS.popular)
    return Ranker(popular, towers, catalogue, ExactIndex(catalogue.embeddings))


def scored(lake: Lake, data, run_id: str, parent: str | None) -> dict[str, float]:
    """Writes the lists of a night; returns the seconds of its parts."""
    who, folder = ranker(data), lake.run(run_id)
    before = store.read_checked_json(lake.run(parent) / store.MANIFEST) if parent else None
    with Say() as say:
        say.stage("score")
        with say.part("digests"):
            digests = _kept.Digests.of(who, data, SETTINGS, "m")
            kept = _kept.Parent.of(lake, before, digests, data, SETTINGS)
        recommended, _, unchanged = _shards.Shards(lake, who, data, SETTINGS, run_id, kept).write(folder, say)
        digests.write(folder)
    shutil.rmtree(lake.resume)
    users = score.user_table(
        data, known=data.events.counts, trained_before=0, recommended=recommended, k=SETTINGS.score.k
    )
    publish.write_table(folder, schemas.USERS, users)
    store.seal(folder, {"run_id": run_id, "scored_with": digests.shared})
    seconds = say.parts | say.seconds
    print(run_id, unchanged, "of", data.num_users, "kept;", {name: round(took, 1) for name, took in seconds.items()})
    return seconds


def costs(lake: Lake, users: int) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of the parts of a night that keeps what did not change, and of one that scores everybody."""
    lake.create()
    scored(lake, night(users, FIRST), f"{FIRST}.1", None)
    data = night(users, SECOND)
    some, full = (scored(lake, data, f"{SECOND}.{n}", parent) for n, parent in ((1, f"{FIRST}.1"), (2, None)))
    files = [store.read_checked_json(lake.run(f"{SECOND}.{n}") / store.MANIFEST)["files"] for n in (1, 2)]
    assert files[0] == files[1], "the same bytes"
    return some, full


@pytest.mark.long
def test_a_night_with_news_of_two_percent_of_a_million_users(tmp_path):
    some, full = costs(Lake(tmp_path / "lake"), 1_000_000)
    searched = some["digests"] + some["ranked"]
    print(
        f"deciding, embedding and searching: {searched:.1f} s of {full['ranked']:.1f} s, {searched / full['ranked']:.1%};"
        f" with reading what is kept and writing all: {some['score']:.0f} s of {full['score']:.0f} s"
    )
    assert searched <= 0.1 * full["ranked"]
    assert some["score"] < full["score"]
