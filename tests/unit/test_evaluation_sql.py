"""Offline evaluation in SQL against NumPy and against trec_eval, on random lists with ties and short ones."""

from __future__ import annotations

import hashlib
import itertools
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pytest
import pytrec_eval

from recbatch import metrics, views
from tests.unit import _lake_fixture as lake_fixture

KS = (1, 3, 10, 20)
USERS, ITEMS, LENGTH = 120, 60, 20
GENRES = ("Drama", "Comedy", "Noir")
DAY = datetime(2026, 2, 28, 12)  # noqa: DTZ001 - timestamps of the lake are UTC without a zone


class World:
    """Random users, lists, histories and held-out items; lists are judged and published alike."""

    def __init__(self, seed: int) -> None:
        random = np.random.default_rng(seed)
        self.items = [f"{item:02}" for item in range(ITEMS)]
        self.genres: dict[str, list[str] | None] = {
            item: None
            if random.random() < 0.1
            else [str(g) for g in random.choice(GENRES, random.integers(1, 4), False)]
            for item in self.items
        }
        self.interactions = {item: int(random.integers(0, 50)) for item in self.items}
        self.users = [f"u{user:03}" for user in range(USERS)]
        self.lists: dict[str, list[tuple[float, str]]] = {}
        self.held_out: dict[str, list[str]] = {}
        self.histories: dict[str, list[str]] = {}
        self.status: dict[str, str] = {}
        self.gender: dict[str, str | None] = {}
        for user in self.users:
            length = int(random.choice([0, 1, 2, 7, LENGTH]))
            scored = [(float(random.integers(0, 4)), str(i)) for i in random.choice(self.items, length, replace=False)]
            self.lists[user] = sorted(scored, key=lambda row: (-row[0], row[1]))
            wanted = int(random.integers(0, 6)) if random.random() < 0.9 else 30
            self.held_out[user] = sorted(str(i) for i in random.choice(self.items, wanted, replace=False))
            self.histories[user] = [str(i) for i in random.choice(self.items, random.integers(0, 5), replace=False)]
            self.status[user] = str(random.choice(["hot", "warm", "cold"]))
            self.gender[user] = random.choice(["F", "M", None])  # type: ignore[arg-type]

    @property
    def judged(self) -> list[str]:
        return [user for user in self.users if self.held_out[user]]

    def source(self, rank: int) -> str:
        return "model" if rank <= 5 else "popular"

    def rank(self, user: str, item: str) -> int:
        listed = [other for _, other in self.lists[user]]
        return listed.index(item) + 1 if item in listed else 0

    def rows(self) -> dict[str, list[tuple[Any, ...]]]:
        return {
            "recommendations": [
                (user, n + 1, item, item, score, self.source(n + 1), None)
                for user in self.users
                for n, (score, item) in enumerate(self.lists[user])
            ],
            "recommendations_buffer": [],
            "users": [
                (
                    user,
                    n,
                    DAY - timedelta(days=10 * n),
                    DAY,
                    self.status[user],
                    len(self.lists[user]),
                    None,
                    self.gender[user],
                )
                for n, user in enumerate(self.users)
            ],
            "items": [(i, i, self.genres[i], self.interactions[i], DAY, DAY, True, 1990) for i in self.items],
            "histories": [(u, n + 1, i, DAY) for u in self.users for n, i in enumerate(self.histories[u])],
            "holdout": [
                (user, item, DAY, rank or None, self.source(rank) if rank else None)
                for user in self.users
                for item in self.held_out[user]
                for rank in [self.rank(user, item)]
            ],
        }

    def pairs(self, segment: str) -> list[tuple[str, int]]:
        """(user, rank or 0) of each held-out item in a segment of users, a genre or a source."""
        name, _, label = segment.partition("=")
        found = []
        for user in self.users:
            for item in self.held_out[user]:
                rank = self.rank(user, item)
                if name == "genre" and label not in (self.genres[item] or ()):
                    continue
                if (name == "status" and self.status[user] != label) or (
                    name == "gender" and self.gender[user] != label
                ):
                    continue
                found.append((user, rank if name != "source" or (rank and self.source(rank) == label) else 0))
        return found


@pytest.fixture(scope="module", params=[1, 2])
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture(scope="module")
def con(world: World, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    folder = lake_fixture.write_run(tmp_path_factory.mktemp("judged") / "run", world.rows())
    with views.over(folder, lake_fixture.head(k=LENGTH)) as con:
        yield con


def rows_of(con: duckdb.DuckDBPyConnection, query: str) -> list[dict[str, Any]]:
    return con.sql(query).to_arrow_table().to_pylist()


def per_user(pairs: list[tuple[str, int]], k: int) -> tuple[list[str], dict[str, np.ndarray]]:
    users = sorted({user for user, _ in pairs})
    place = {user: n for n, user in enumerate(users)}
    of = np.array([place[user] for user, _ in pairs], dtype=np.int32)
    ranks = np.array([rank for _, rank in pairs], dtype=np.int32)
    return users, {name: function(ranks, of, len(users), k) for name, function in metrics.PER_USER.items()}


@pytest.mark.parametrize("k", KS)
def test_user_metrics_are_those_of_numpy(con: duckdb.DuckDBPyConnection, world: World, k: int) -> None:
    found = rows_of(con, f"from user_metrics({k}) order by user_id")
    users, expected = per_user(world.pairs("all"), k)
    assert [row["user_id"] for row in found] == users
    for name, values in expected.items():
        assert [row[name] for row in found] == pytest.approx(values, abs=1e-12), name


@pytest.mark.parametrize("k", KS)
def test_numpy_and_sql_agree_with_trec_eval(con: duckdb.DuckDBPyConnection, world: World, k: int) -> None:
    # trec_eval breaks ties by descending document id, recbatch by ascending item id: ids are turned round.
    turned = {item: f"d{ITEMS - n:02}" for n, item in enumerate(world.items)}
    wanted = {user: {turned[item]: 1 for item in world.held_out[user]} for user in world.judged}
    lists = {user: {turned[item]: score for score, item in world.lists[user]} for user in world.judged}
    names = {f"{name}.{k}" for name in ("recall", "ndcg_cut", "map_cut", "P", "success")}
    theirs = pytrec_eval.RelevanceEvaluator(wanted, names).evaluate(lists)
    # Reciprocal rank has no cut-off there: it gets lists of k rows.
    cut = {user: dict(sorted(rows.items(), key=lambda row: (row[1], row[0]))[-k:]) for user, rows in lists.items()}
    first = pytrec_eval.RelevanceEvaluator(wanted, {"recip_rank"}).evaluate(cut)
    compared = 0
    for ours in rows_of(con, f"from user_metrics({k})"):
        # A user without a list is nobody to trec_eval, and has zeros here.
        trec = theirs.get(ours["user_id"], dict.fromkeys([f"{name.replace('.', '_')}" for name in names], 0.0))
        reciprocal = first.get(ours["user_id"], {"recip_rank": 0.0})["recip_rank"]
        # Our recall divides by min(k, held out), theirs by what is held out.
        assert ours["hits"] / ours["held_out"] == pytest.approx(trec[f"recall_{k}"], abs=1e-9)
        assert ours["recall"] * min(k, ours["held_out"]) == pytest.approx(ours["hits"], abs=1e-9)
        for name, other in (("ndcg", "ndcg_cut"), ("map", "map_cut"), ("precision", "P"), ("hit_rate", "success")):
            assert ours[name] == pytest.approx(trec[f"{other}_{k}"], abs=1e-9), name
        assert ours["mrr"] == pytest.approx(reciprocal, abs=1e-9)
        compared += ours["user_id"] in theirs
    assert compared > USERS / 2


def weights() -> np.ndarray:
    """Poisson(1) weights, shape (1000, 400), drawn by inverting the distribution at an md5."""
    cdf = np.cumsum([np.exp(-1) / float(np.prod(np.arange(1, n + 1))) for n in range(8)])[:7]
    low = [
        int.from_bytes(hashlib.md5(f"{bucket}/{sample}".encode()).digest()[8:], "little")
        for bucket, sample in itertools.product(range(1000), range(400))
    ]
    return np.searchsorted(cdf, np.array(low, dtype=np.float64) / 2.0**64).reshape(1000, 400)


@pytest.fixture(scope="module")
def drawn() -> np.ndarray:
    return weights()


def interval(users: list[str], values: np.ndarray, drawn: np.ndarray) -> np.ndarray:
    bucket = [int.from_bytes(hashlib.md5(u.encode()).digest()[8:], "little") % 1000 for u in users]
    own = drawn[bucket].astype(np.float64)
    totals = own.sum(axis=0)
    means = (own.T @ values)[totals > 0] / totals[totals > 0]
    return np.percentile(means, [2.5, 97.5])


@pytest.mark.parametrize("k", [3, 20])
def test_segment_metrics_are_means_and_bootstrap_intervals_of_numpy(
    con: duckdb.DuckDBPyConnection, world: World, drawn: np.ndarray, k: int
) -> None:
    found = {(row["segment"], row["metric"]): row for row in rows_of(con, f"from segment_metrics({k})")}
    names = {segment.partition("=")[0] for segment, _ in found}
    assert names == {"all", "activity", "tenure", "status", "gender", "genre", "source"}
    for segment in ("all", "status=warm", "gender=F", "genre=Noir", "source=model", "source=popular"):
        users, values = per_user(world.pairs(segment), k)
        for name, own in values.items():
            row = found[segment, name]
            low, high = interval(users, own, drawn)
            assert (row["value"], row["users"]) == (pytest.approx(own.mean(), abs=1e-12), len(users))
            assert row["ci_low"] == pytest.approx(min(low, own.mean()), abs=1e-9)
            assert row["ci_high"] == pytest.approx(max(high, own.mean()), abs=1e-9)
    assert found["source=model", "recall"]["value"] + found["source=popular", "recall"]["value"] == pytest.approx(
        found["all", "recall"]["value"]
    )


def test_intervals_are_as_wide_as_those_of_the_multinomial_bootstrap(
    con: duckdb.DuckDBPyConnection, world: World
) -> None:
    _, values = per_user(world.pairs("all"), 10)
    own = np.stack(list(values.values()), axis=1)
    low, high = metrics.bootstrap_intervals(own, 2000, seed=1)
    found = {row["metric"]: row for row in rows_of(con, "from segment_metrics(10) where segment = 'all'")}
    for n, name in enumerate(values):
        assert found[name]["ci_high"] - found[name]["ci_low"] == pytest.approx(high[n] - low[n], rel=0.25)


def oracle(world: World, user: str, k: int) -> dict[str, float | None]:
    """Metrics of one list by loops over its titles."""
    listed = [item for _, item in world.lists[user][:k]]
    total = sum(world.interactions.values()) + ITEMS
    popularity = float(np.mean([world.interactions[item] for item in listed]))
    told = [world.genres[item] or [] for item in listed if world.genres[item]]
    cosines = [len(set(a) & set(b)) / np.sqrt(len(a) * len(b)) for a, b in itertools.combinations(told, 2)]
    past = [world.genres[item] or [] for item in world.histories[user] if world.genres[item]]

    def share(lists: list[list[str]], genre: str) -> float:
        return float(np.mean([(genre in genres) / len(genres) for genres in lists]))

    divergence = None
    if past and told:
        p = {genre: share(past, genre) for genre in GENRES if share(past, genre)}
        divergence = sum(v * np.log(v / (0.99 * share(told, g) + 0.01 * v)) for g, v in p.items())
    before = float(np.mean([world.interactions[i] for i in world.histories[user]])) if world.histories[user] else 0
    return {
        "titles": len(listed),
        "novelty": float(np.mean([-np.log2((world.interactions[item] + 1) / total) for item in listed])),
        "diversity": 1 - float(np.mean(cosines)) if cosines else None,
        "calibration": divergence,
        "popularity": popularity,
        "popularity_lift": popularity / before - 1 if before else None,
    }


@pytest.mark.parametrize("k", [2, 20])
def test_list_metrics_are_those_of_loops_over_the_titles(con: duckdb.DuckDBPyConnection, world: World, k: int) -> None:
    found = {row.pop("user_id"): row for row in rows_of(con, f"from list_metrics({k})")}
    assert sorted(found) == [user for user in world.users if world.lists[user]]
    for user, row in found.items():
        expected = oracle(world, user, k)
        assert row.keys() == expected.keys()
        for name, value in expected.items():
            assert row[name] == (None if value is None else pytest.approx(value, abs=1e-9)), (user, name)


def test_list_metrics_by_segment_are_means_and_the_catalogue_is_counted_with_what_nobody_got(
    con: duckdb.DuckDBPyConnection, world: World
) -> None:
    k = 3
    found = {(row["segment"], row["metric"]): row for row in rows_of(con, f"from segment_list_metrics({k})")}
    for segment in ("all", "status=hot", "gender=M"):
        name, _, label = segment.partition("=")
        users = [
            user
            for user in world.users
            if world.lists[user]
            and (name == "all" or {"status": world.status, "gender": world.gender}[name][user] == label)
        ]
        told = [oracle(world, user, k) for user in users]
        for metric in ("novelty", "diversity", "calibration", "popularity", "popularity_lift"):
            values = [row[metric] for row in told if row[metric] is not None]
            row = found[segment, metric]
            assert (row["value"], row["users"]) == (pytest.approx(np.mean(values)), len(values))  # type: ignore[arg-type]
            assert row["ci_low"] <= row["value"] <= row["ci_high"]
        amounts = dict.fromkeys(world.items, 0)
        for user in users:
            for _, item in world.lists[user][:k]:
                amounts[item] += 1
        pairs = np.abs(np.subtract.outer(list(amounts.values()), list(amounts.values()))).sum()
        gini = pairs / (2 * ITEMS * sum(amounts.values()))
        assert found[segment, "coverage"]["value"] == pytest.approx(sum(map(bool, amounts.values())) / ITEMS)
        assert found[segment, "gini"]["value"] == pytest.approx(gini)
        assert found[segment, "gini"]["users"] == len(users)


def test_without_anything_judged_there_are_no_rows(tmp_path: Path) -> None:
    folder = lake_fixture.write_run(tmp_path / "run", {"holdout": [], "histories": [], "recommendations": []})
    with views.over(folder, lake_fixture.head()) as con:
        for macro in ("user_metrics", "segment_metrics", "list_metrics", "segment_list_metrics"):
            assert rows_of(con, f"from {macro}(10)") == []
