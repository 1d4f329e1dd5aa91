"""Columns as tokens."""

import pyarrow as pa
import pytest

from recbatch.errors import ConfigError
from recbatch.model import FeatureSpace

ITEMS = pa.table(
    {
        "item_id": [str(n) for n in range(20)],
        "title": [f"Film {n} ({1980 + n})" for n in range(19)] + ["No year"],
        "genres": pa.array([["Drama", "War"], ["Drama"], [], None] * 5, pa.list_(pa.string())),
        "price": pa.array([float(n) for n in range(19)] + [None]),
        "size": [str(n % 4) for n in range(20)],
    }
)


def fit(**declared):
    return FeatureSpace.fit(ITEMS, declared, "train.item_features")


def test_lists_share_their_weight():
    space = fit(genres="category")
    assert space.fields[0].values == ("Drama", "War")
    assert space.matrix(ITEMS)[:4].tolist() == [[0.5, 0.5], [1, 0], [0, 0], [0, 0]]


@pytest.mark.parametrize(("column", "kind"), [("price", "number"), ("title", "year")])
def test_numbers_fall_into_eighths(column, kind):
    space = fit(**{column: kind})
    codes = space.codes(ITEMS)[:, 0]
    assert space.size == 8
    assert codes[-1] == -1
    assert (codes[1:-1] >= codes[:-2]).all()
    assert all(1 <= (codes == token).sum() <= 4 for token in range(8))


def test_text_that_counts_is_a_number():
    assert fit(size="number").size == 4
    assert fit(size="category").fields[0].values == ("0", "1", "2", "3")


def test_a_column_that_is_no_number_is_named():
    with pytest.raises(ConfigError, match=r"train\.item_features\.title: declared a number, but it holds 'Film 0"):
        fit(title="number")


def test_rare_missing_and_constant_columns_have_no_tokens():
    assert fit(item_id="category", nothing="category").size == 0
    constant = ITEMS.append_column("same", pa.array(["x"] * 20))
    assert FeatureSpace.fit(constant, {"same": "category"}, "s").size == 0


def test_later_tables_may_lack_columns_and_hold_other_values():
    space = fit(genres="category", price="number")
    later = pa.table({"genres": pa.array([["War", "Jazz"], ["Jazz"]], pa.list_(pa.string()))})
    assert space.matrix(later).tolist() == [[0, 1] + [0] * 8, [0] * 10]
    assert space.codes(later).tolist() == [[1, -1], [-1, -1]]


def test_round_trip():
    space = fit(genres="category", price="number", title="year")
    assert FeatureSpace.from_json(space.to_json()) == space
