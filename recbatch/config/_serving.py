"""Sections about what users get."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator

from recbatch.config._base import Positive, Section, Share


class Index(Section):
    """Top-k search."""

    engine: Literal["auto", "exact", "leaves", "brute", "ah", "tree"] = "auto"
    """`auto` measures on a sample of tonight's users: the cheapest that reaches the target, building it included. The
    last three are ScaNN's."""
    exact_seconds: Annotated[float, Field(ge=0)] = 15.0
    """`auto`: exact search, and nothing is measured, where it takes fewer seconds; and no further engine is tried once
    one takes fewer: importing ScaNN takes 11, building and measuring the others 20 to 40."""
    calibration_seconds: Annotated[float, Field(gt=0)] = 20.0
    """`auto`: after so long no further setting is tried; an index that is being built is finished."""
    target_recall: Share = 0.99
    """Least recall@k against exact search; below it the index is retuned, then replaced by exact search."""
    certify_users: Positive = 2_000
    """Users on whom the certificate is measured."""


class Score(Section):
    """What every user gets."""

    k: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Rows per user."""
    buffer: Annotated[int, Field(ge=0, le=10_000)] = 20
    """Further rows per user kept for the live view."""
    similar: Annotated[int, Field(ge=0, le=1_000)] = 20
    """Neighbours per item in `similar_items`; 0 leaves the table empty."""
    history: Annotated[int, Field(ge=0, le=1_000)] = 20
    """Latest titles per user in `histories`, which `show` and the calibration of genres read; 0 leaves it empty."""
    keep_seen: bool = False
    """Whether titles of the user's history may be recommended."""
    fashion: Literal["nightly", "trained"] = "nightly"
    """Whether scores follow tonight's popularity, or that of the days the model was trained on: lists then change only
    for users with news, until the next training."""
    reuse: bool = True
    """Whether users whose list cannot have changed keep the rows of the parent run; lists are the same either way."""
    users_per_shard: Positive = 100_000
    """Users per Parquet file, the unit of work; smaller nights take a twentieth of their users, at least 8,192."""
    users_per_batch: Positive = 4_096
    """Users per matrix product."""
    memory_budget: str = "4GiB"
    """Peak memory of the scoring process: bytes, or a number with KiB, MiB or GiB."""


class Popular(Section):
    """What unknown users get."""

    segments: tuple[str, ...] = ()
    """User features that get a list of their own, e.g. `gender`."""
    half_life_days: Annotated[float, Field(gt=0)] = 30.0
    """Within a segment, an event this old counts half."""
    overall_half_life_days: Annotated[float, Field(gt=0)] | None = None
    """The same overall, and where the model's biases follow fashion every night; none: learned from the latest days."""
    prior_events: Annotated[float, Field(gt=0)] = 200.0
    """Within a segment, how many events' worth of overall popularity is mixed in."""
    length: Positive = 500
    """Rows per segment in the published table; at least k + buffer are kept."""


class Rules(Section):
    """What lists must obey besides their ranking; `recbatch why-not USER ITEM` names the rule that kept a title out."""

    seen_window_days: Positive | None = None
    """Only titles seen within so many days before the run date are left out; none: all that were ever seen.
    `score.keep_seen` goes before it; events without a time count as seen."""
    deny: str | None = None
    """CSV or Parquet file with user_id, item_id and optionally `until`, a date: from that run date on, the title may
    come back."""
    eligible: str | None = None
    """Titles that may be recommended: one SQL expression over the columns of `items`, e.g. `year >= 1990`; null: no."""
    at_most: dict[str, Annotated[int, Field(ge=1, le=32_767)]] = {}
    """Column of items → how many titles of one value a list holds at most, its buffer included, e.g. {genres = 3}; a
    title counts for each of its values, one without a value for none."""
    pins: str | None = None
    """CSV or Parquet file of titles that come first: item_id and optionally `segment`, e.g. `gender=F`, and `rank`."""
    boosts: dict[str, Annotated[float, Field(gt=0, le=1_000_000, allow_inf_nan=False)]] = {}
    """SQL expression over `items` → how many times as likely the model holds them, e.g. {"year > 2020" = 1.5}."""

    @field_validator("deny", "pins")
    @classmethod
    def _table_file(cls, value: str | None) -> str | None:
        if value is not None and Path(value).suffix not in (".csv", ".parquet"):
            raise ValueError("expected the path of a .csv or .parquet file")
        return value
