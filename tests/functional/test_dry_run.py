"""`nightly --dry-run` against what the night then takes."""

import json
import shutil

import pytest

from .conftest import FAST, WORLD, Cli


def size(*folders):
    return sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file())


def dry(cli, run_date, *more, code=0):
    return cli("nightly", "--dry-run", "--source", WORLD, "--run-date", run_date, *FAST, *more, code=code)


def test_the_first_night_is_predicted_from_constants_and_nothing_is_written(published, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    empty = Cli(tmp_path / "elsewhere", tmp_path / "lake")
    said = json.loads(dry(empty, "2020-02-01", "--json").stdout)
    assert not empty.lake.exists()
    (model,) = (published.lake / "models").glob("m-*")
    assert (said["trains"], said["fits"], said["based_on"]) == (True, True, "constants")
    assert said["disk_bytes"] == pytest.approx(size(published.lake / "runs" / "2020-02-01.1", model), rel=0.3)


def test_a_later_night_is_predicted_from_its_parent(published, tmp_path):
    said = json.loads(dry(published, "2020-02-06", "--json").stdout)
    head = json.loads((published.lake / "runs" / "2020-02-06.1" / "manifest.json").read_text())
    assert (said["trains"], said["based_on"]) == (head["train"]["trained"], "run 2020-02-01.1")
    assert said["disk_bytes"] == pytest.approx(size(published.lake / "runs" / "2020-02-06.1"), rel=0.3)
    assert said["rows"] == pytest.approx(head["rows"]["recommendations"], rel=0.05)
    assert said["minutes"] == pytest.approx(sum(said["seconds"].values()) / 60)
    assert said["seconds"].keys() == {*head["seconds"], "publish"}
    assert sum(said["memory"].values()) == said["peak_bytes"]


def test_a_budget_that_is_too_small_is_said_not_refused(cli, base_lake):
    before = size(cli.lake)
    text = dry(cli, "2020-02-02", "--memory-budget", "100MiB").stdout
    assert "REFUSED by --memory-budget 100 MiB" in text
    assert [line.split()[0] for line in text.splitlines()] == ["2020-02-02:", "train", "memory", "disk", "time"]
    assert size(cli.lake) == before
    shutil.rmtree(cli.lake)
    assert "no model" in dry(cli, "2020-02-02", "--train", "never", code=66).stderr
