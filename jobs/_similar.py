"""The table `similar_items`: from an index certified like the one behind the lists, or as in the run before.

Neighbours depend on no user: while the model and the titles stay, the table and its certificate do.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from recbatch import __version__, index, publish, schemas, score, store
from recbatch.config import Config
from recbatch.contracts import Certificate, Dataset, Float32s, Index, Json
from recbatch.index import Calibration
from recbatch.score import Catalogue
from recbatch.store import Lake

from ._parent import sound, versions


@dataclass(frozen=True, slots=True)
class Neighbours:
    """Where the table comes from, and what it is worth."""

    key: str
    """sha256 over all that the table depends on; hex."""
    certificate: Certificate
    decisions: tuple[str, ...]
    calibration: Calibration | None
    index: Index | None
    """Search among candidates by cosine; none: the files of the run before serve again."""
    files: tuple[Path, ...] = ()


def neighbours(
    lake: Lake,
    catalogue: Catalogue,
    data: Dataset,
    config: Config,
    parent: Json | None,
    decided: Calibration | None = None,
) -> Neighbours | None:
    """What the parent run has, where that would come out again, else a certified index over unit vectors.

    Args:
        lake: holds the parent.
        catalogue: tonight's candidates.
        data: names them.
        config: settings.
        parent: manifest of the run before.
        decided: how an earlier night with the same model searched.

    Returns:
        None where no item can have a neighbour.
    """
    unit = score.unit_vectors(catalogue)
    count = min(config.score.similar, len(unit) - 1)
    if count < 1:
        return None
    key = _key(unit, catalogue, data, config)
    if parent and config.score.reuse and parent.get("similar_from") == key:
        folder = lake.run(parent["run_id"])
        if sound(folder, parent, [schemas.SIMILAR_ITEMS]):
            told = {field.name: parent["similar_certificate"][field.name] for field in fields(Certificate)}
            line = f"similar items: those of {parent['run_id']}, since neither the model nor a title has changed"
            files = tuple(store.matching(folder / schemas.SIMILAR_ITEMS.name, "*.parquet"))
            return Neighbours(key, Certificate(**told), (line,), decided, None, files)
    generator = np.random.default_rng(config.seed)
    sample = np.sort(generator.choice(len(unit), min(config.index.certify_users, len(unit)), replace=False))
    built = index.build_certified(
        unit,
        config.index,
        queries=unit[sample],
        exclude=score.themselves(sample),
        k=count,
        users=len(unit),
        decided=decided,
    )
    lines = tuple(f"similar items: {decision}" for decision in built.decisions)
    return Neighbours(key, built.certificate, lines, built.calibration, built.index)


def write(folder: Path, found: Neighbours | None, catalogue: Catalogue | None, data: Dataset, config: Config) -> int:
    """Writes the table below a run's folder; returns its rows."""
    table = schemas.SIMILAR_ITEMS
    if found is None or catalogue is None:
        return publish.write_table(folder, table, schemas.arrow(table).empty_table())
    if found.index is not None:
        return publish.write_table(
            folder, table, score.similar_items(catalogue, data, found.index, config.score.similar)
        )
    store.make_folder(folder / table.name)
    for file in found.files:
        store.link(file, folder / table.name / file.name)
    return sum(pq.read_metadata(file).num_rows for file in found.files)


def _key(unit: Float32s, catalogue: Catalogue, data: Dataset, config: Config) -> str:
    places = pa.array(catalogue.positions)
    depends_on: Json = {
        "recbatch": __version__,
        "versions": versions(),
        "vectors": hashlib.sha256(np.ascontiguousarray(unit).data).hexdigest(),
        "item_ids": data.item_ids.take(places).to_pylist(),
        "titles": data.titles.take(places).to_pylist(),
        "count": config.score.similar,
        "index": config.index.model_dump(mode="json"),
        "seed": config.seed,
    }
    return hashlib.sha256(store.canonical(depends_on)).hexdigest()
