"""A night without training scores only the users with news: the others keep their rows, and nobody can tell."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from recbatch import store
from tests.functional.conftest import Cli

FIRST, SECOND, THIRD = "2020-02-02", "2020-02-03", "2020-02-04"
RELOAD = ("--train", "never", "--set", 'score.fashion="trained"', "--set", 'rules.deny="deny.csv"', "--k", "20")
LISTS = ("recommendations/part-00000.parquet", "recommendations_buffer/part-00000.parquet")


@pytest.fixture(scope="module")
def _two(tmp_path_factory, _base):
    """(cli, summary of the second night, who was denied their best title in it, that title)."""
    root = tmp_path_factory.mktemp("kept")
    (root / "elsewhere").mkdir()
    cli = Cli(root / "elsewhere", root / "lake")
    shutil.copytree(_base, cli.lake)
    deny = cli.directory / "deny.csv"
    deny.write_text("user_id,item_id\nghost,1\n")
    first = cli.night(FIRST, *RELOAD)
    assert first["kept_users"] == 0, "its parent scored with tonight's fashion"
    [idle] = cli.rows(
        "select user_id, item_id from recommendations where source = 'model' and rank = 1 and user_id in"
        " (select user_id from users where last_at < timestamp '2020-01-20') order by user_id limit 1"
    )
    deny.write_text(f"user_id,item_id\n{idle['user_id']},{idle['item_id']}\n")
    return cli, cli.night(SECOND, *RELOAD), idle["user_id"], idle["item_id"]


@pytest.fixture
def two(_two, cli):
    """The same in a lake of the test's own."""
    shutil.copytree(_two[0].lake, cli.lake)
    shutil.copy(_two[0].directory / "deny.csv", cli.directory)
    return cli, *_two[1:]


def digests(cli, run_id):
    folder = cli.lake / "runs" / run_id
    users = pq.read_table(folder / "users", columns=["user_id"])["user_id"].to_pylist()
    return dict(zip(users, np.load(folder / "user_digests.npy").tolist(), strict=True))


def files(cli, run_id):
    manifest = json.loads((cli.lake / "runs" / run_id / "manifest.json").read_text())
    return {name: facts["sha256"] for name, facts in manifest["files"].items()}


def test_tables_are_those_of_a_full_rescoring_byte_by_byte(two):
    cli, done, _, _ = two
    full = cli.night(SECOND, *RELOAD, "--force", "--set", "score.reuse=false")
    assert (done["run_id"], full["run_id"]) == (f"{SECOND}.1", f"{SECOND}.2")
    assert full["kept_users"] == 0
    assert similar(cli, full)[1] is False
    assert done["kept_users"] > done["users"] / 2
    assert done["scored_with"] == full["scored_with"]
    kept, anew = files(cli, done["run_id"]), files(cli, full["run_id"])
    same = [name for name in kept if name.split("/")[0] not in ("audits", "report.html", "lookup.arrow")]
    assert {*LISTS, "user_digests.npy", "users/part-00000.parquet"} <= set(same)
    assert {name: kept[name] for name in same} == {name: anew[name] for name in same}


def similar(cli, done):
    """Inodes of the table's files, and whether the night took them over."""
    folder = cli.lake / "runs" / done["run_id"] / "similar_items"
    taken = any("since neither the model nor a title has changed" in line for line in done["decisions"])
    return [path.stat().st_ino for path in sorted(folder.iterdir())], taken


def test_neighbours_are_the_parents_while_model_and_titles_stay(_two):
    cli, done, _, _ = _two
    first = store.read_checked_json(cli.lake / "runs" / f"{FIRST}.1" / "manifest.json")
    assert done["similar_certificate"] == first["similar_certificate"]
    assert similar(cli, done) == (similar(cli, first)[0], True)


def test_neighbours_are_searched_for_where_anything_is_different(two):
    cli, done, _, _ = two
    fewer = cli.night(SECOND, *RELOAD, "--force", "--set", "rules.eligible=\"item_id <> '1'\"")
    assert similar(cli, fewer)[1] is False
    assert cli.rows("select count(*) as n from similar_items where '1' in (item_id, similar_item_id)") == [{"n": 0}]
    other = cli.night(SECOND, *RELOAD, "--force", "--set", "score.similar=7")
    assert similar(cli, other)[1] is False
    assert other["rows"]["similar_items"] == 7 * other["items"]
    path = cli.lake / "runs" / f"{FIRST}.1" / "similar_items" / "part-00000.parquet"
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    anew = cli.night(SECOND, *RELOAD, "--force")
    assert similar(cli, anew)[1] is False
    name = "similar_items/part-00000.parquet"
    assert files(cli, anew["run_id"])[name] == files(cli, done["run_id"])[name]


def test_who_did_something_or_was_denied_something_is_ranked_anew(_two):
    cli, done, denied, title = _two
    before, after = digests(cli, f"{FIRST}.1"), digests(cli, f"{SECOND}.1")
    same = {user for user in after if before.get(user) == after[user]}
    active = {row["user_id"] for row in cli.rows(f"select user_id from users where last_at >= timestamp '{FIRST}'")}
    assert active
    assert not same & active
    assert denied not in same
    assert same == set(after) - active - {denied}
    assert done["kept_users"] <= len(same)
    assert cli.rows(f"select * from recommendations where user_id = '{denied}' and item_id = '{title}'") == []


def test_lists_that_follow_tonights_fashion_are_ranked_anew(published):
    first, second = (
        json.loads((published.lake / "runs" / run_id / "manifest.json").read_text())
        for run_id in ("2020-02-01.1", "2020-02-06.1")
    )
    assert first["model_id"] == second["model_id"]
    assert first["scored_with"] != second["scored_with"]
    assert second["kept_users"] == 0


@pytest.mark.parametrize("fault", ["damaged", "missing", "rows damaged"])
def test_without_sound_files_of_the_parent_everybody_is_ranked_anew(two, fault):
    cli, done, _, _ = two
    parent = cli.lake / "runs" / f"{FIRST}.1"
    path = parent / (LISTS[1] if fault == "rows damaged" else "user_digests.npy")
    if fault == "missing":
        path.unlink()
    else:
        content = path.read_bytes()
        path.write_bytes(content[:-9] + bytes([content[-9] ^ 1]) + content[-8:])
    again = cli.night(SECOND, *RELOAD, "--force")
    assert again["kept_users"] == 0
    kept, anew = files(cli, done["run_id"]), files(cli, again["run_id"])
    assert [kept[name] for name in LISTS] == [anew[name] for name in LISTS]


def test_a_forgotten_user_leaves_no_digest_and_the_nights_after_work(two):
    cli, _, denied, _ = two
    cli("forget", denied)
    assert not list(cli.lake.rglob("user_digests.npy"))
    assert cli("verify").stdout.startswith("sound")
    third = cli.night(THIRD, *RELOAD)
    assert third["kept_users"] == 0
    assert len(digests(cli, third["run_id"])) == third["users"]
    assert "user_digests.npy" in store.read_checked_json(cli.lake / "runs" / third["run_id"] / "manifest.json")["files"]
