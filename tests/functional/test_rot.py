"""One changed bit or a lost end, in any file of a lake: `verify` finds it, and no damaged model is scored with."""

import random
import shutil
from datetime import UTC, datetime

import pytest
from recbatch.jobs.verify import damage

from recbatch import publish, store, train, withdrawn
from recbatch.errors import RecbatchError
from recbatch.store import Lake

KINDS = {
    "parquet": "runs/*/*/*.parquet",
    "run manifest": "runs/*/manifest.json",
    "report": "runs/*/report.html",
    "lookup": "runs/*/lookup.arrow",
    "catalog": "catalog.duckdb",
    "pointer": "latest.json",
    "weights": "models/*/*/*.npy",
    "vocabulary": "models/*/*/vocabulary.arrow",
    "model manifest": "models/*/manifest.json",
    "decisions": "models/*/*.json",
    "outcomes": "outcomes/*/*/*/*.parquet",
    "outcome manifest": "outcomes/*/*/manifest.json",
    "table of a deleted run": "history/*/*/*.parquet",
    "record of a deleted run": "history/*/*.json",
    "records of the lake": "[rfw]*.json",
}


@pytest.fixture(scope="module")
def judged(published, tmp_path_factory):
    """A lake with every kind of file: two runs, their model, and what came after the first."""
    lake = Lake(tmp_path_factory.mktemp("judged") / "lake")
    shutil.copytree(published.lake, lake.root)
    published("evaluate", "--lake", lake.root, "--run-date", "2020-02-01", "--until", "2020-02-06")
    publish.archive(lake, "2020-02-01.1", datetime(2020, 3, 1, tzinfo=UTC))
    publish.retire(
        lake, {"2020-01-01.1": {"reason": publish.ROLLED_BACK, "at": "2020-03-01T00:00:00+00:00", "to": None}}
    )
    publish.remember(lake, "nobody")
    publish.done(lake, "nobody")
    withdrawn.write(lake, {})
    assert len(list(lake.root.glob(KINDS["records of the lake"]))) == 3
    assert damage(lake)[1] == []
    return lake


def missed(lake: Lake, rounds: int, seed: int) -> list[str]:
    """Damages a file at a time, in turn by kind, and puts it right again; returns what was not noticed."""
    generator, found = random.Random(seed), []
    for turn in range(rounds):
        kind = list(KINDS)[turn % len(KINDS)]
        path = generator.choice(sorted(lake.root.glob(KINDS[kind])))
        content = path.read_bytes()
        place = generator.randrange(len(content))
        bit = generator.choice([None, *range(8)])
        changed = content[:place] if bit is None else _flipped(content, place, bit)
        path.write_bytes(changed)
        if not damage(lake)[1]:
            found.append(f"{path}: byte {place}, bit {bit}")
        if kind in ("weights", "vocabulary", "model manifest", "decisions") and _loads(lake, path):
            found.append(f"{path}: loaded")
        path.write_bytes(content)
    return found


def _flipped(content: bytes, place: int, bit: int) -> bytes:
    changed = bytearray(content)
    changed[place] ^= 1 << bit
    return bytes(changed)


def _loads(lake: Lake, path) -> bool:
    try:
        train.load(lake, path.relative_to(lake.models).parts[0])
    except RecbatchError:
        return False
    return True


def test_damage_of_every_kind_of_file_is_found(judged):
    assert missed(judged, 2 * len(KINDS), seed=0) == []
    assert damage(judged)[1] == []


def test_a_file_of_the_index_or_the_model_under_a_foreign_hash_is_refused(judged):
    model = next(judged.models.glob("m-*"))
    path = next(model.rglob("*.npy"))
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    assert _loads(judged, path) is False
    path.write_bytes(content)
    (model / "extra.npy").write_bytes(content)
    assert _loads(judged, path) is False
    (model / "extra.npy").unlink()
    assert _loads(judged, path) is True


def test_the_next_start_writes_a_damaged_catalog_anew(judged, tmp_path):
    from recbatch.jobs import _lake

    lake = Lake(tmp_path / "lake")
    shutil.copytree(judged.root, lake.root)
    lake.catalog.write_bytes(lake.catalog.read_bytes() + b"\0")  # DuckDB reads on
    assert "catalog.duckdb: sha256 differs" in damage(lake)[1][0]
    with store.locked(lake):
        _lake.repair(lake)
    assert damage(lake)[1] == []


@pytest.mark.long
@pytest.mark.rot
def test_a_thousand_damages_are_found(judged):
    found = missed(judged, 1_000, seed=1)
    print(f"1,000 damages over {len(KINDS)} kinds of file: {len(found)} missed")
    assert found == []
