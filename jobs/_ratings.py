"""What the judged models would have said of the ratings that followed; nothing where tonight's has learned none."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from recbatch import evaluate
from recbatch.config import Config
from recbatch.contracts import NO_ITEM, Dataset, Events, Float32s, Metric, Split, Towers
from recbatch.model import known_events, rating_scale, vocabulary_positions

from ._model import Judged


def rated(contenders: Mapping[str, Judged | None], parts: Split, data: Dataset, config: Config) -> tuple[Metric, ...]:
    """Rows of `metrics`: the RMSE of every contender that predicts ratings, and of the mean rating as `popular`.

    Titles that a model does not know are predicted as the mean.
    """
    test, past = parts.test.where(np.isfinite(parts.test.ratings)), data.human(parts.train)
    if not len(test.items) or not np.isfinite(past.ratings).any():
        return ()
    mean = rating_scale(past.ratings)[0]
    predicted = {evaluate.POPULAR: np.full(len(test.items), mean, np.float32)}
    for name, judged in contenders.items():
        found = predictions(judged.towers, parts.train, test, data, mean) if judged else None
        if found is not None:
            predicted[name] = found
    if evaluate.MODEL not in predicted:
        return ()
    return evaluate.rating_metrics(predicted, test, config.judge, protocol=parts.protocol, seed=config.seed)


def predictions(towers: Towers, past: Events, test: Events, data: Dataset, mean: float) -> Float32s | None:
    """What users with a past would rate the titles of some events; none where the model has learned no ratings.

    Args:
        towers: of a judged model.
        past: what it may know of the users.
        test: events of the same users.
        data: names users and titles.
        mean: said of titles that the model does not know.

    Returns:
        Shape (events of `test`,).
    """
    towers = towers.with_items(data)
    users, user_of = np.unique(test.users_of_events(), return_inverse=True)
    profiles = towers.profiles(data)
    histories = known_events(past.of_users(users), data, towers)
    queries = towers.embed(histories, None if profiles is None else profiles[users])
    rows = vocabulary_positions(data, towers)[test.items]
    known = rows != NO_ITEM
    said = towers.ratings(queries, user_of[known].astype(np.int32), rows[known])
    if said is None:
        return None
    found = np.full(len(test.items), mean, np.float32)
    found[known] = said
    return found
