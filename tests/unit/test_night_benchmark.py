"""What `recbatch benchmark night` generates and how it watches; and what a night may read within its budget."""

import sys
from datetime import date

import numpy as np
import pyarrow.parquet as pq
import pytest

from jobs import _generated, _lookup_benchmark, _memory, _night_benchmark
from recbatch import sources
from recbatch.config import load
from recbatch.errors import ConfigError

END = 1_714_521_600_000_000


def test_generated_files_hold_what_was_asked_for(tmp_path, monkeypatch):
    monkeypatch.setattr(_generated, "_USERS_AT_A_TIME", 400)
    count = _generated.write_files(tmp_path, 1_000, 600, 20, END)
    events = pq.read_table(tmp_path / "interactions.parquet")
    assert (
        events.num_rows
        == count
        == sources.about_rows(load(overrides={"source.uri": f"files:{tmp_path}"}).source, date.max)
    )
    assert count / 1_000 == pytest.approx(20, rel=0.3)
    pairs = set(zip(events["user_id"].to_pylist(), events["item_id"].to_pylist(), strict=True))
    assert len(pairs) == count
    assert len({user for user, _ in pairs}) == 1_000
    assert {item for _, item in pairs} <= set(pq.read_table(tmp_path / "items.parquet")["item_id"].to_pylist())
    assert events["occurred_at"].to_numpy().astype(np.int64).max() < END


def test_a_process_is_watched_with_its_children(monkeypatch, tmp_path):
    child = "import time; held = bytearray(150_000_000); time.sleep(0.4)"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}], check=True); print('said')"
    (tmp_path / "parent.py").write_text(code)
    monkeypatch.setattr(_night_benchmark, "_COMMAND", (sys.executable,))
    seen = _night_benchmark.watch([str(tmp_path / "parent.py")])
    assert (seen.code, seen.output) == (0, "said\n")
    assert 150_000_000 < seen.peak_bytes < 400_000_000
    assert seen.seconds > 0.4


def test_rows_of_a_generated_world_are_known_before_they_are_made():
    source = load(overrides={"source.uri": "sample:users=300,titles=60"}).source
    read = sources.read(source, before=date(2020, 1, 20), today=date(2024, 1, 1))
    assert sources.about_rows(source, date(2020, 1, 20)) == pytest.approx(read.interactions.num_rows, rel=0.1)


def test_input_that_does_not_fit_into_the_budget_is_refused_before_it_is_read():
    config = load(overrides={"source.uri": "sample:users=10000000,titles=2000", "score.memory_budget": "2GiB"})
    with pytest.raises(
        ConfigError, match=r"reading about 2\d\d,\d{3},\d{3} interactions takes \d+ MiB .* allows 2048 MiB: raise it"
    ):
        _memory.require_to_read(config, date(2020, 2, 1))
    _memory.require_to_read(load(), date(2020, 2, 1))


def test_checks_are_predicted_by_what_they_read_and_never_beyond_the_budget(monkeypatch):
    data = _lookup_benchmark.world(1_000, 3)
    monkeypatch.setattr(_memory, "_CHECK_BYTES", {"event": 0, "row": 0})
    small = _memory.predict(data, load())
    assert small["checks"] == 0, "the night holds more before them"
    monkeypatch.setattr(_memory, "_CHECK_BYTES", {"event": 0, "row": 10_000_000})
    for gib in (4, 8):
        config = load(overrides={"score.memory_budget": f"{gib}GiB"})
        whole = sum(_memory.predict(data, config).values())
        assert 0.85 * gib * 2**30 < whole < gib * 2**30
        assert _memory.require(data, config) == whole
    assert _memory.left(10, load(overrides={"score.memory_budget": "1MiB"})) == 256 * 2**20
    large = load(overrides={"score.memory_budget": "1024GiB"})
    assert 0.5 * 2**40 < _memory.left(10**7, large) < _memory.left(0, large) < 0.85 * 2**40
