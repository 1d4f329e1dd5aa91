"""What the table of neighbours depends on: any of it different, and the parent's is not taken over."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from jobs._similar import _key
from recbatch.config import Config
from recbatch.score import Catalogue, unit_vectors

from ._worlds import build

TITLES = {str(n): f"t{n}" for n in range(5)}


def test_the_key_knows_vectors_titles_and_settings():
    data = build([("a", "1", 1), ("b", "2", 2)], TITLES)
    every = np.arange(5, dtype=np.int32)
    catalogue = Catalogue(np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32), every, every, every)
    config, unit = Config(), unit_vectors(catalogue)
    key = _key(unit, catalogue, data, config)
    louder = replace(catalogue, embeddings=catalogue.embeddings * np.float32(2) + np.float32([0, 0, 0, 1]))
    assert _key(unit_vectors(louder), louder, data, config) == key, "neither length nor bias shapes a cosine"
    titles, ids = data.titles.to_pylist(), data.item_ids.to_pylist()
    others = [
        _key(unit * np.float32(0.5), catalogue, data, config),
        _key(unit, replace(catalogue, positions=every[[1, 0, 2, 3, 4]]), data, config),
        _key(unit, catalogue, replace(data, titles=pa.array([*titles[:4], "renamed"])), config),
        _key(unit, catalogue, replace(data, item_ids=pa.array([*ids[:4], "new"])), config),
        _key(unit, catalogue, data, config.model_copy(update={"seed": config.seed + 1})),
        _key(
            unit, catalogue, data, config.model_copy(update={"score": config.score.model_copy(update={"similar": 3})})
        ),
        _key(
            unit,
            catalogue,
            data,
            config.model_copy(update={"index": config.index.model_copy(update={"engine": "exact"})}),
        ),
    ]
    assert len({key, *others}) == 8
