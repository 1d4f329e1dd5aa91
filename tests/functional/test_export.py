"""`recbatch export`: SavedModels loaded in a process that knows nothing of recbatch answer like the published table."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from datetime import date
from types import SimpleNamespace

import pytest

from recbatch import config, sources, store
from tests.functional.conftest import WORLD, Cli

LOADER = """
import json, sys
import tensorflow as tf
assert "recbatch" not in sys.modules and "tensorflow_recommenders" not in sys.modules
def answer(folder, form, asked):
    if "/scann-" in folder:
        import scann  # registers its operations; the models before it needed none
    model = tf.saved_model.load(folder).signatures["serving_default"]
    if form == "history":
        longest = max(map(len, asked))
        asked = [[""] * (longest - len(one)) + one for one in asked]
    found = model(**{"user_id" if form == "user" else "history": tf.constant(asked)})
    text = {name: [[x.decode() for x in row] for row in found[name].numpy().tolist()] for name in ("item_ids", "titles", "sources")}
    return text | {"scores": found["scores"].numpy().tolist()}
json.dump([answer(*one) for one in json.load(sys.stdin)], sys.stdout)
"""


def ask(questions):
    """(folder, model, queries) → per query its rows (item_id, title, score, source), all by one fresh process."""
    asked = []
    for folder, model, queries in questions:
        (version,) = (folder / model).iterdir()
        asked.append([str(version), model.split("-")[1], queries])
    done = subprocess.run(
        [sys.executable, "-c", LOADER],
        input=json.dumps(asked),
        env={key: value for key, value in os.environ.items() if key not in ("TF_USE_LEGACY_KERAS", "PYTHONPATH")},
        cwd=questions[0][0],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return [_rows(found) for found in json.loads(done.stdout)]


def _rows(found):
    columns = [found[name] for name in ("item_ids", "titles", "scores", "sources")]
    return [[row for row in zip(*one, strict=True) if row[0]] for one in zip(*columns, strict=True)]


def published_lists(cli):
    """User → rows that readers see, and what stands behind them; users without rows too."""
    lists = {row["user_id"]: [] for row in cli.rows("select user_id from users order by user_id")}
    for table in ("recommendations", "recommendations_buffer"):
        for row in cli.rows(f"select user_id, item_id, title, score, source from {table} order by user_id, rank"):
            lists[row["user_id"]].append((row["item_id"], row["title"], row["score"], row["source"]))
    return lists


def assert_alike(found, published, k):
    """The same titles in the same order; two whose scores are equal within rounding may change places."""
    assert len(found) == min(k, len(published))
    scores = {row[0]: row[2] for row in published}
    for ours, theirs in zip(found, published[:k], strict=True):
        assert ours[2] == pytest.approx(theirs[2], abs=1e-5)
        assert ours[0] == theirs[0] or scores[ours[0]] == pytest.approx(theirs[2], abs=1e-5)
    assert len({row[0] for row in found}) == len(found)
    assert {row[:2] for row in found} <= {row[:2] for row in published}
    assert [row[3] for row in found] == [row[3] for row in published[:k]]


def histories(run_date):
    tables = sources.read(config.Source(uri=WORLD), before=run_date, today=date(2026, 1, 1))
    found = {}
    for row in tables.interactions.sort_by("occurred_at").to_pylist():
        found.setdefault(row["user_id"], []).append(row["item_id"])
    return found


@pytest.fixture(scope="module")
def exported(published, tmp_path_factory):
    """What each model answers, and what readers see: of the published lake, and of a copy with a withdrawn title."""
    root = tmp_path_factory.mktemp("export")
    facts = json.loads(published("export", "--to", root / "serving", "--index", "both", "--json").stdout)
    shutil.copytree(published.lake, root / "lake")
    (root / "elsewhere").mkdir()
    copy = Cli(root / "elsewhere", root / "lake")
    copy("withdraw", copy.rows("select item_id from popular where segment = 'all' and rank = 1")[0]["item_id"])
    copy("export", "--to", root / "fewer", "--k", "5")
    lists, seen = published_lists(published), histories(date(2020, 2, 6))
    with_history = [user for user in lists if user in seen]
    told = [*(seen[user] for user in with_history), ["no such item"], []]
    questions = {
        "brute-user": (root / "serving", "brute-user", [*lists, "nobody", ""]),
        "brute-history": (root / "serving", "brute-history", told),
        "withdrawn": (root / "fewer", "brute-user", list(lists)),
        "scann-user": (root / "serving", "scann-user", list(lists)),
        "scann-history": (root / "serving", "scann-history", told),
    }
    answers = dict(zip(questions, ask(list(questions.values())), strict=True))
    return SimpleNamespace(facts=facts, copy=copy, lists=lists, with_history=with_history, answers=answers, root=root)


def test_brute_force_by_user_answers_every_user_and_a_stranger_like_the_published_table(published, exported):
    assert exported.facts["models"] == ["brute-user", "brute-history", "scann-user", "scann-history"]
    assert (exported.facts["run_id"], exported.facts["version"]) == ("2020-02-06.1", 20200206001)
    assert {row[3] for rows in exported.lists.values() for row in rows} >= {"model", "popular"}
    popular = published.rows("select item_id, title, score, source from recs_for('nobody') order by rank")
    strangers = 2 * [[tuple(row.values()) for row in popular]]
    for ours, theirs in zip(exported.answers["brute-user"], [*exported.lists.values(), *strangers], strict=True):
        assert_alike(ours, theirs, 100)


@pytest.mark.parametrize("model", ["brute-history", "scann-history"])
def test_a_history_answers_like_its_user(exported, model):
    *found, unknown, empty = exported.answers[model]
    assert len(found) > 150
    for user, ours in zip(exported.with_history, found, strict=True):
        assert_alike(ours, exported.lists[user], 100)
    assert unknown == empty
    assert [row[3] for row in empty] == ["popular"] * 100


def test_scann_by_user_answers_like_the_published_table(exported):
    for ours, theirs in zip(exported.answers["scann-user"], exported.lists.values(), strict=True):
        assert_alike(ours, theirs, 100)


def test_a_withdrawn_title_is_in_no_answer(exported):
    lists = published_lists(exported.copy)
    assert lists != exported.lists
    for ours, theirs in zip(exported.answers["withdrawn"], lists.values(), strict=True):
        assert_alike(ours, theirs, 5)


def test_an_export_is_sealed_and_whole_and_is_replaced_only_by_force(exported):
    cli, folder = exported.copy, exported.root / "fewer"
    assert store.faults(folder) == []
    assert {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()} == {0o640}
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    assert "replace it with --force" in cli("export", "--to", folder, code=73).stderr
    other = "sample:users=200,titles=120,seed=4"
    told = cli("export", "--to", folder, "--force", "--source", other, code=65).stderr
    assert "not the input that run 2020-02-06.1" in told
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    told = cli("export", "--to", folder, "--force", "--run", "2020-02-01.1").stdout
    assert told.startswith("run 2020-02-01.1, 100 titles per answer")
    assert (folder / "brute-user" / "20200201001").is_dir()
    assert store.faults(folder) == []
    assert sorted(path.name for path in exported.root.iterdir()) == ["elsewhere", "fewer", "lake", "serving"]


def test_what_cannot_be_exported_is_refused_in_one_line(exported):
    cli = exported.copy
    (cli.directory / "mine").mkdir()
    (cli.directory / "mine" / "thesis.txt").write_text("precious")
    assert "is no export" in cli("export", "--to", "mine", "--force", code=73).stderr
    assert "create it first" in cli("export", "--to", "no/such", code=73).stderr
    assert "recbatch runs" in cli("export", "--to", "new", "--run", "2020-09-09.1", code=66).stderr
    assert not (cli.directory / "new").exists()
