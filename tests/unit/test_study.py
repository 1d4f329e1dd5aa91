"""The search behind `recbatch tune`, on a function that is known."""

from __future__ import annotations

import json
from types import SimpleNamespace

import numpy as np
import pytest

from jobs import _study
from recbatch.config import Train
from recbatch.errors import StorageFailed

NOW = Train(learning_rate=0.008, history_dropout=0.3)


class Objective:
    """Best at history_dropout .5 and learning_rate .003; remembers what it was asked."""

    def __init__(self):
        self.asked = []

    def __call__(self, train):
        self.asked.append(train)
        loss = (train.history_dropout - 0.5) ** 2 + np.log(train.learning_rate / 0.003) ** 2 / 10
        return np.linspace(0.5, 1, 5) - loss


def search(journal, objective, trials, seconds=60.0, train=NOW):
    return _study.search(journal, train, objective, trials=trials, seconds=seconds, seed=1)


def test_the_settings_as_they_are_come_first_and_something_better_is_found(tmp_path):
    objective = Objective()
    found = search(tmp_path / "a.journal", objective, 12)
    assert objective.asked[0] == NOW
    assert (found.trials, len(objective.asked)) == (12, 12)
    best = max(objective(train).mean() for train in list(objective.asked))
    assert found.best.mean() == pytest.approx(best)
    value, low, high = found.difference(200, 0)
    assert low <= value <= high
    assert value == pytest.approx(best - objective(NOW).mean())
    assert found.best == pytest.approx(objective(NOW.model_copy(update=found.settings)))
    assert all(getattr(NOW, name) != new for name, new in found.settings.items())


def test_equal_seeds_try_equal_settings(tmp_path):
    first, second = Objective(), Objective()
    search(tmp_path / "a.journal", first, 4)
    search(tmp_path / "b.journal", second, 4)
    assert first.asked == second.asked


def test_a_study_is_gone_on_with_after_a_kill_and_repeats_nothing(tmp_path):
    journal, objective = tmp_path / "a.journal", Objective()

    def killed(train):
        raise KeyboardInterrupt

    search(journal, objective, 3)
    with pytest.raises(KeyboardInterrupt):
        search(journal, killed, 1)
    with journal.open("ab") as file:
        file.write(b'{"op_code": 4, "half')
    (tmp_path / "a.journal.lock").touch()
    found = search(journal, objective, 3)
    assert found.trials == 6
    assert objective.asked.count(NOW) == 1
    assert len({train.model_dump_json() for train in objective.asked}) == 6
    assert journal.stat().st_mode & 0o777 == 0o640
    assert [json.loads(line) for line in journal.read_text().splitlines()]


def test_the_time_box_begins_no_trial_that_would_not_end_in_it(tmp_path, monkeypatch):
    objective = Objective()  # a trial takes ten seconds
    monkeypatch.setattr(_study, "time", SimpleNamespace(monotonic=lambda: 10.0 * len(objective.asked)))
    search(tmp_path / "a.journal", objective, None, seconds=35.0)
    assert len(objective.asked) == 3


def test_a_setting_outside_the_usual_range_widens_it_and_the_objective_says_which_count(tmp_path):
    objective = Objective()
    train = Train(objective="fill_in", learning_rate=0.5, embedding_dim=8)
    search(tmp_path / "a.journal", objective, 3, train=train)
    assert objective.asked[0] == train
    assert all(one.half_life_events == train.half_life_events for one in objective.asked)
    assert len({one.fill_in_weight_decay for one in objective.asked}) == 3


def test_a_damaged_journal_is_named(tmp_path):
    journal = tmp_path / "a.journal"
    search(journal, Objective(), 1)
    journal.write_bytes(b"no json\n" + journal.read_bytes())
    with pytest.raises(StorageFailed, match=r"a\.journal: damaged"):
        search(journal, Objective(), 1)
