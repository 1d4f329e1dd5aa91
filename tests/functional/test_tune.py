"""`recbatch tune`: proposes, keeps its study, and leaves everything else alone."""

from __future__ import annotations

import json
import tomllib

from recbatch import config, store
from recbatch.store import Lake
from tests.functional.conftest import FAST, WORLD


def test_tune_proposes_settings_beside_a_locked_lake_and_is_gone_on_with(cli, base_lake):
    arguments = [
        "tune",
        "--source",
        WORLD,
        "--run-date",
        "2020-02-01",
        *FAST,
        "--set",
        "judge.users_needed=20",
        "--trials",
    ]
    before = {path: path.stat().st_mtime_ns for path in base_lake.rglob("*") if path.name != "_lock"}
    with store.locked(Lake(base_lake)):  # as a night would hold it
        first = json.loads(cli(*arguments, "2", "--json").stdout)
    (journal,) = (base_lake / "tuning").glob("*.journal")
    assert first["study"] == str(journal)
    assert (first["trials"], first["metric"]) == (2, "ndcg@10")
    assert first["best"] >= first["current"] > 0
    text = cli(*arguments, "1").stdout
    assert text.startswith(f"3 trials on {first['users']} users of {first['protocol']}")
    assert len(list((base_lake / "tuning").glob("*.journal"))) == 1
    if "[train]" in text:
        diff = text[text.index("[train]") :].splitlines()
        proposed = tomllib.loads("\n".join(line.removeprefix("+") for line in diff if not line.startswith("-")))
        config.Config.model_validate(proposed)
        assert len([line for line in diff if line.startswith("-")]) == len(proposed["train"])
    kept = {path: path.stat().st_mtime_ns for path in before}
    assert {path for path in before if kept[path] != before[path]} <= {base_lake}
    with store.lock_of(base_lake / "tuning"):
        assert "another run holds the lock" in cli(*arguments, "1", code=75).stderr


def test_tune_says_what_it_needs(cli, tmp_path):
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "optuna.py").write_text("raise ModuleNotFoundError('No module named optuna')")
    told = cli("tune", code=66, env={"PYTHONPATH": str(tmp_path / "without")}, real=True).stderr
    assert told == "recbatch: tune needs the library optuna: pip install 'recbatch[tune]'\n"
    few = cli("tune", "--source", "sample:users=20,titles=30,seed=1", "--run-date", "2020-01-10", code=65).stderr
    assert "users to judge before 2020-01-10, fewer than judge.users_needed, 50" in few
