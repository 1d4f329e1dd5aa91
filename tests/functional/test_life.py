"""Lakes outlive releases: each release's fixture lake is read and continued, and other layouts are refused unharmed."""

import json
import tarfile
from pathlib import Path

import pytest

from recbatch import store
from tests.fixtures import make_lake

from .test_nights import state

FIXTURES = sorted(Path(make_lake.__file__).parent.glob("lake-*.tar.xz"))


@pytest.fixture(params=FIXTURES, ids=lambda path: path.name)
def old_lake(request, cli, tmp_path):
    with tarfile.open(request.param) as archive:
        archive.extractall(tmp_path, filter="data")
    assert cli.lake.is_dir()
    return cli.lake


def reseal(folder, **changes):
    """The folder's manifest with other words, sealed again."""
    head = store.read_checked_json(folder / store.MANIFEST)
    (folder / store.MANIFEST).unlink()
    store.seal(folder, {k: v for k, v in head.items() if k not in ("files", "checksum")} | changes)


def test_a_lake_of_an_earlier_release_is_read_migrated_and_continued(cli, old_lake):
    assert json.loads(cli("status", "--json").stdout)["healthy"] is True
    assert "sound" in cli("verify").stdout
    rows = "select user_id, rank, item_id, score from recommendations order by all"
    before = cli.rows(rows)
    assert len(before) > 200
    assert cli.rows("select count(*) as n from realised_metrics")[0]["n"] > 0
    assert cli.rows("select distinct contract from runs") == [{"contract": 1}]
    written_by = json.loads(cli("migrate", "--dry-run", "--json").stdout)["written_by"]
    assert sum(written_by.values()) == len(make_lake.NIGHTS)
    cli("migrate")
    assert cli.rows(rows) == before
    words = ["--source", make_lake.SOURCE, *make_lake.arguments(), "--json"]
    never = json.loads(cli("nightly", "--run-date", "2020-02-04", "--train", "never", *words).stdout)
    assert (never["parent"], never["train"]["trained"]) == (f"{make_lake.NIGHTS[-1]}.1", False)
    auto = json.loads(cli("nightly", "--run-date", "2020-02-05", *words).stdout)
    assert auto["status"] == "published"
    assert {row["withdrawn"] for row in cli.rows("select count(*) as withdrawn from items where item_id = '5'")} == {0}
    assert cli.rows("select count(*) as n from runs")[0]["n"] == len(make_lake.NIGHTS) + 2
    assert "sound" in cli("verify").stdout


def test_settings_that_this_release_no_longer_knows_do_not_stop_evaluate(cli, old_lake):
    run = old_lake / "runs" / f"{make_lake.NIGHTS[0]}.1"
    settings = store.read_checked_json(run / store.MANIFEST)["config"]
    settings["train"]["of_an_older_release"] = 3
    reseal(run, config=settings | {"section_of_an_older_release": {"x": 1}})
    done = cli("evaluate", "--run-date", make_lake.NIGHTS[0], "--until", "2020-02-04", "--json")
    assert json.loads(done.stdout)["run_id"] == run.name


def test_a_layout_of_a_later_release_is_refused_and_left_alone(cli, old_lake):
    run = old_lake / "runs" / f"{make_lake.NIGHTS[-1]}.1"
    reseal(run, contract=2, recbatch="9.9.9")
    before = state(old_lake)
    said = cli("migrate", code=74).stderr
    assert f"run {run.name} has layout 2" in said
    assert "use recbatch 9.9.9 or later" in said
    words = ["--source", make_lake.SOURCE, *make_lake.arguments()]
    assert "layout 2" in cli("nightly", "--run-date", "2020-02-04", *words, code=74).stderr.splitlines()[-1]
    assert before.items() <= state(old_lake).items() | {("latest.json", before["latest.json"])}
