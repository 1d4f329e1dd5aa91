"""The users of the generated world: an id with leading zeros and three features that go with taste."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from recbatch.sources.sample_world import World

GENDERS = ("F", "M")
AGE_BANDS = ("under 18", "18-24", "25-34", "35-49", "50-64", "65+")
OCCUPATIONS = ("artist", "clerk", "engineer", "farmer", "nurse", "retired", "student", "teacher")
_ID_DIGITS = 7


def user_table(world: World, count: int) -> pa.Table:
    """The first `count` users in order of arrival: user_id, gender, age_band, occupation (all text)."""
    user = np.arange(count, dtype=np.int64)
    columns = {"user_id": pc.utf8_lpad(pc.cast(pa.array(user + 1), pa.string()), _ID_DIGITS, "0")}
    names = {"gender": GENDERS, "age_band": AGE_BANDS, "occupation": OCCUPATIONS}
    for (name, values), codes in zip(names.items(), world.features_of(user), strict=True):
        columns[name] = pa.array(values).take(pa.array(codes))
    return pa.table(columns)
