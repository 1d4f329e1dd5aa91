"""A shard is written once: what a night finished before it died is taken as it is by the next one."""

import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import _lookup_benchmark, _shards
from jobs._say import Say
from recbatch import schemas, score
from recbatch.config import Config, load
from recbatch.score import Ranker
from recbatch.store import Lake

CONFIG = load(overrides={"score.users_per_shard": 50, "score.users_per_batch": 25, "score.k": 10, "score.buffer": 3})


class Counted:
    """A ranker that counts users, and dies when it has ranked as many as it may."""

    index = None

    def __init__(self, ranker, may=10**9):
        self.ranker, self.may, self.users = ranker, may, 0

    def rank_all(self, events, users, length, batch, part):
        for lists in self.ranker.rank_all(events, users, length, batch, part=part):
            if self.users >= self.may:
                raise KeyboardInterrupt
            self.users += len(lists.users)
            yield lists


@pytest.fixture(scope="module")
def world():
    data = _lookup_benchmark.world(1_000, 3)
    return data, Ranker(score.by_popularity(data, data.events, data.run_date, CONFIG.popular))


def night(root, ranker, data, say, **settings):
    lake = Lake(root)
    lake.create()
    folder = lake.staging / "run"
    folder.mkdir()
    config = CONFIG.model_copy(update={"score": CONFIG.score.model_copy(update=settings)})
    return _shards.Shards(lake, ranker, data, config, "key").write(folder, say)


def tables(root):
    return {
        table.name: pq.read_table(root / "_staging" / "run" / table.name)
        for table in (schemas.RECOMMENDATIONS, schemas.RECOMMENDATIONS_BUFFER)
    }


def test_a_night_killed_half_way_does_at_most_55_percent_again_and_writes_the_same_tables(world, tmp_path):
    data, ranker = world
    with Say() as say:
        whole = night(tmp_path / "whole", ranker, data, say)
        with pytest.raises(KeyboardInterrupt):
            night(tmp_path / "killed", Counted(ranker, may=510), data, say)
        for path in (tmp_path / "killed" / "_staging").glob("run/*/*"):
            path.unlink()  # as the repair at the next start empties staging
        for path in (tmp_path / "killed" / "_staging").rglob("run/*"):
            path.rmdir()
        (tmp_path / "killed" / "_staging" / "run").rmdir()
        second = Counted(ranker)
        resumed = night(tmp_path / "killed", second, data, say)
    assert second.users <= 550
    np.testing.assert_array_equal(resumed[0], whole[0])
    assert resumed[1] == whole[1]
    assert tables(tmp_path / "killed") == tables(tmp_path / "whole")


def test_a_damaged_shard_is_scored_again(world, tmp_path):
    data, ranker = world
    with Say() as say:
        night(tmp_path, ranker, data, say)
        (tmp_path / "_staging" / "run").rename(tmp_path / "first")
        with (tmp_path / "_resume" / "shards-key" / "00003" / "recommended.npy").open("ab") as file:
            file.write(b"x")
        again = Counted(ranker)
        night(tmp_path, again, data, say)
    assert again.users == 50


def test_small_nights_have_one_shard_and_large_ones_twenty_at_least():
    assert [len(_shards.ranges(users, 100_000)) for users in (0, 1, 8_192, 8_193, 162_000, 10_000_000)] == [
        0,
        1,
        1,
        2,
        20,
        100,
    ]
    assert np.concatenate(_shards.ranges(20_000, 7_000)).tolist() == list(range(20_000))


def test_the_key_depends_on_model_data_and_settings(world):
    data, ranker = world
    keys = {
        _shards.run_key(data, CONFIG, "m", ranker),
        _shards.run_key(data, CONFIG, "other", ranker),
        _shards.run_key(data, Config(), "m", ranker),
    }
    assert len(keys) == 3


def test_a_shard_that_could_not_be_written_is_never_sealed(world, tmp_path, monkeypatch):
    data, ranker = world
    ranked = _shards.Shards._ranked

    def refuse(shard, batch, unchanged):
        raise OSError(28, "No space left on device")

    def slowly(shards, users, say):
        time.sleep(0.1)
        yield from ranked(shards, users, say)

    with Say() as say, monkeypatch.context() as broken:
        broken.setattr(_shards._Shard, "add", refuse)
        broken.setattr(_shards.Shards, "_ranked", slowly)
        with pytest.raises(OSError, match="No space"):
            night(tmp_path, ranker, data, say, users_per_batch=50)
    assert not list((tmp_path / "_resume").glob("*/*"))
