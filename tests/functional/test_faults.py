"""Damage to a finished run is found by `verify` and never by a reader first."""

import numpy as np
import pytest

from recbatch import store

from .test_nights import state


@pytest.mark.parametrize(
    "name", ["manifest.json", "report.html", "recommendations/part-00000.parquet", "metrics/part-00000.parquet"]
)
def test_a_flipped_bit_in_a_run_is_found(cli, base_lake, name):
    path = cli.lake / "runs" / "2020-02-01.1" / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    said = cli("verify", code=74).stdout
    assert "2020-02-01.1" in said
    assert said.splitlines()[-1].startswith("damaged")


def test_a_lost_catalog_or_pointer_is_repaired_by_the_next_night(cli, base_lake):
    (cli.lake / "latest.json").write_text("{}")
    assert "latest.json" in cli("verify", code=74).stdout
    (cli.lake / "catalog.duckdb").unlink()
    assert cli.night("2020-02-01")["note"] == "already published, nothing to do"
    assert cli.rows("select run_id from runs") == [{"run_id": "2020-02-01.1"}]
    assert "sound" in cli("verify").stdout


def test_a_read_only_lake_is_a_line_and_changes_nothing(cli, base_lake):
    (cli.lake / "_staging").rmdir()
    (cli.lake / "_staging").write_text("in the way")
    said = cli.night("2020-02-02", code=73)
    assert "_staging" in said.splitlines()[-1]
    assert cli.rows("select run_id from runs") == [{"run_id": "2020-02-01.1"}]


MODEL_FAULTS = {
    "NaN": (lambda weights: np.full_like(weights, np.nan), "not finite"),
    "one NaN": (
        lambda weights: np.where(np.arange(weights.size).reshape(weights.shape) == 7, np.nan, weights),
        "not finite",
    ),
    "collapsed": (np.zeros_like, "collapsed"),
    "inverted": (lambda weights: weights * -30, "gate_not_worse"),
}


@pytest.mark.parametrize("fault", MODEL_FAULTS)
def test_a_model_gone_wrong_under_a_sound_seal_is_never_published(cli, base_lake, fault):
    change, words = MODEL_FAULTS[fault]
    (folder,) = (path for path in (cli.lake / "models").iterdir() if path.is_dir())
    for which in ("judged", "served"):
        for path in sorted((folder / which).glob("candidates_[0-9].npy")):
            np.save(path, change(np.load(path)).astype(np.float32))
    head = store.read_checked_json(folder / "manifest.json")
    (folder / "manifest.json").unlink()
    store.seal(folder, {key: value for key, value in head.items() if key not in ("files", "checksum")})
    before = state(cli.lake)
    said = cli.night("2020-02-02", "--train", "never", "--set", "judge.users_needed=20", code=65)
    assert words in said.splitlines()[-1]
    assert state(cli.lake) == before
