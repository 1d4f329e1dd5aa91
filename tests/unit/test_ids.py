"""Ids by their place in a dictionary, whatever form a column comes in."""

import numpy as np
import pyarrow as pa
import pytest

from recbatch import _ids

ROWS = ["b", None, "a", "b", "c", "a"]
FORMS = {
    "text": pa.chunked_array([ROWS], pa.string()),
    "text in chunks": pa.chunked_array([ROWS[:2], ROWS[2:2], ROWS[2:]], pa.string()),
    "dictionary": pa.chunked_array([pa.array(ROWS).dictionary_encode()]),
    "dictionaries of their own": pa.chunked_array([pa.array(ROWS[:3]).dictionary_encode(), pa.array(ROWS[3:]).dictionary_encode()]),
    "short indices": pa.chunked_array([pa.array(ROWS).dictionary_encode().cast(pa.dictionary(pa.int8(), pa.string()))]),
    "a value twice": pa.chunked_array([pa.DictionaryArray.from_arrays(pa.array([1, None, 2, 0, 3, 2], pa.int32()), ["b", "b", "a", "c"])]),
    "null as a value": pa.chunked_array([pa.DictionaryArray.from_arrays(pa.array([0, 1, 2, 0, 3, 2], pa.int32()), ["b", None, "a", "c"])]),
    "a value nobody has": pa.chunked_array([pa.DictionaryArray.from_arrays(pa.array([0, None, 1, 0, 3, 1], pa.int32()), ["b", "a", "z", "c"])]),
}  # fmt: skip


@pytest.mark.parametrize("column", FORMS.values(), ids=FORMS.keys())
def test_every_form_of_a_column_says_the_same(column):
    ids = _ids.encoded(column)
    assert ids.type == pa.dictionary(pa.int32(), pa.string())
    assert ids.to_pylist() == ROWS
    values = ids.dictionary.to_pylist()
    assert len(set(values)) == len(values)
    assert None not in values
    assert [None if place < 0 else values[place] for place in _ids.places(ids)] == ROWS
    assert _ids.positions(column, pa.array(["a", "b", "x"])).tolist() == [1, -1, 0, 1, -1, 0]
    assert _ids.are_in(column, pa.array(["c"])).tolist() == [False, False, False, False, True, False]
    assert sorted(_ids.present(column).to_pylist()) == ["a", "b", "c"]


@pytest.mark.parametrize("kind", [pa.string(), pa.dictionary(pa.int32(), pa.string())])
def test_without_rows_nothing_is_present(kind):
    for column in (pa.chunked_array([], kind), pa.chunked_array([pa.array([], kind)])):
        assert len(_ids.present(column)) == 0
        assert _ids.positions(column, pa.array(["a"])).tolist() == []


def test_what_holds_of_an_id_holds_of_its_rows():
    ids = _ids.encoded(FORMS["text"])
    assert _ids.taken(np.array([10, 20, 30]), ids, -5).tolist() == [10, -5, 20, 10, 30, 20]
