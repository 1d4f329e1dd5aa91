"""Dated input through the command: kept rows are known to `verify`, `gc` and `forget`."""

import json
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq

from ._soak import FIRST_NIGHT, SETTINGS, Soak, World


def kept_ids(lake):
    """Every user id that stands in kept rows, as checked and as parsed."""
    found = set()
    for path in (lake / "_cache").glob("*/*.arrow"):
        with pa.OSFile(str(path)) as file:
            found |= set(pa.ipc.open_file(file).read_all()["user_id"].to_pylist())
    return found


def test_kept_input_is_verified_dropped_and_reached_by_forget(cli, tmp_path):
    world = World(tmp_path / "in", nights=2, window=6)
    nights = Soak(cli, world, tmp_path / "aside")
    first, second = FIRST_NIGHT, FIRST_NIGHT + timedelta(days=1)
    world.turn_to(first)
    cli(*nights.command(first), "--dry-run")
    assert not (cli.lake / "_cache").exists(), "a dry run writes nothing"
    cli(*nights.command(first), "--train", "always")
    cache = cli.lake / "_cache"
    assert len(list(cache.iterdir())) == world.window

    damaged = next(cache.glob("*/raw.arrow"))
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"!")
    assert str(damaged) in cli("verify", code=74).stdout
    again = cli(*nights.command(first))
    assert "already" in json.loads(again.stdout)["note"]
    assert cli("verify").returncode == 0, "the file was parsed again"

    user = pq.read_table(world.path(first - timedelta(days=1)))["user_id"][0].as_py()
    assert user in kept_ids(cli.lake)
    cli("forget", user)
    assert not cache.exists()
    world.turn_to(second)
    done = json.loads(cli(*nights.command(second), "--train", "never").stdout)
    assert done["counts"]["forgotten"] > 0, "the source still names the user"
    assert user not in kept_ids(cli.lake)
    holding = [
        day
        for day in world.days
        if world.path(day).exists() and user in set(pq.read_table(world.path(day))["user_id"].to_pylist())
    ]
    assert len(list(cache.iterdir())) == world.window - len(holding)

    cli("nightly", "--source", "sample:users=200,titles=120,seed=3", "--run-date", "2020-02-01", *SETTINGS)
    assert not list(cache.iterdir()), "another source uses none of it"
