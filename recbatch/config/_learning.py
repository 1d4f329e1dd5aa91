"""Sections about what is read, learned from and judged."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from recbatch.config._base import Count, Positive, Section, Share
from recbatch.schemas import ACTIVITY


class Source(Section):
    """Where interactions, items and users come from."""

    uri: str = "sample"
    """`movielens/100k`, `files:DIR`, `recbole:DIR`, `duckdb:FILE`, `sample`, `sample:users=…,titles=…,seed=…`."""
    data_dir: str | None = None
    """Prepared tensorflow-datasets directory; none: tensorflow-datasets' own default."""
    time_unit: Literal["s", "ms", "us"] = "s"
    """Unit of numeric timestamps."""
    merge_by_title: bool | None = None
    """Whether items of one title are one candidate; none: true for MovieLens, false elsewhere."""
    max_quarantined_share: Share = 0.01
    """More rejected rows than this share of a table stop the night (exit 65)."""


class Data(Section):
    """From events to one night's dataset."""

    max_events_per_day: Positive = 2_000
    """A user who did more than this on one day is no human: flagged, served, but nothing is learned from them."""
    min_rating: float | None = None
    """Events rated below are no positives and are left out; none: every event counts."""


class Judge(Section):
    """The slice of days on which tonight's model is judged before anyone sees it."""

    users_wanted: Positive = 200
    """The slice is the fewest days that hold this many users."""
    max_days: Positive = 30
    """… and at most this many days."""
    users_needed: Positive = 50
    """Fewer users than this cannot judge: the night is published as `not_judged`, with a warning."""
    users_most: Positive = 20_000
    """More judged users than this are represented by so many of them, evenly spaced in id order: an interval gets no
    narrower than a percent of the figure, and judging no longer."""
    list_length: Positive = 100
    """Ranks looked at when judging."""
    metric: Literal["ndcg", "recall"] = "ndcg"
    """What the gate compares."""
    metric_k: Positive = 10
    """Cut-off of the gate's metric."""
    max_drop: Share = 0.0
    """How far below a baseline the model may lie, as a share of the baseline, beyond what chance explains."""
    segment_floors: dict[str, Annotated[float, Field(ge=0)]] = {}
    """Segment → least share of popularity's figure in it, beyond what chance explains, e.g. {"gender=F" = 0.95}; a name
    alone stands for each of its values. `activity=0|1-4|5-19|20-99|100+`, `status=warm|cold`, or a user feature.
    Segments with fewer users than `users_needed` are not judged."""
    bootstrap_samples: Positive = 1000
    """Resamples behind every interval."""

    @field_validator("segment_floors")
    @classmethod
    def _segments_exist(cls, value: dict[str, float]) -> dict[str, float]:
        for segment in value:
            name, equals, text = segment.partition("=")
            known = {"activity": tuple(ACTIVITY), "status": ("warm", "cold")}.get(name, (text,))
            if not name or (equals and text not in known):
                raise ValueError(f"no segment {segment!r}; {name or 'a name'} is one of {', '.join(known)}")
        return value


FeatureKind = Literal["category", "number", "year"]
"""`year`: of a text that ends in one, as `Heat (1995)`."""


class Train(Section):
    """The two towers and when to train them."""

    mode: Literal["auto", "always", "never"] = "auto"
    """`auto` retrains when there is no model, it is too old, the vocabulary drifted or a setting changed."""
    objective: Literal["next", "fill_in"] = "next"
    """`next`: what a user does next, for nightly use; `fill_in`: what is missing from a history without order."""
    max_model_age_days: Count = 7
    """`auto` retrains a model whose newest training day is this old."""
    max_vocabulary_drift: Share = 0.02
    """`auto` retrains when more than this share of the events since then are on titles the model does not know."""
    embedding_dim: Annotated[int, Field(ge=2, le=512)] = 192
    """Columns of the towers, biases not counted; `next` gives half of them to each of its two parts."""
    epochs: Positive = 150
    """Passes over the users at most; a user gives one random example per pass and part."""
    max_steps: Positive = 1_000
    """Gradient steps per part at most: with more than about 1,700 users this ends training before `epochs` do."""
    batch_size: Positive = 256
    """Users per gradient step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.008
    """Of AdamW at the first step; it falls along a cosine."""
    weight_decay: Annotated[float, Field(ge=0, le=100)] = 0.5
    """Of AdamW, times the learning rate per step; the remedy against learning histories by heart."""
    max_history: Positive = 500
    """Events of a user, newest first, that a query looks at."""
    half_life_events: Annotated[float, Field(gt=0)] = 10.0
    """`next`: an event this many events before the last one counts half."""
    targets_per_cut: Positive = 20
    """`next`: events after the cut that count as answers."""
    history_dropout: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of a history hidden at random in every example; with `fill_in` the hidden titles are the answers."""
    user_features: dict[str, FeatureKind] = {
        "gender": "category",
        "age": "number",
        "age_band": "category",
        "occupation": "category",
    }
    """Columns of users that the query tower reads, where the source has them; newcomers are served by them alone."""
    item_features: dict[str, FeatureKind] = {"genres": "category", "year": "number", "title": "year"}
    """Columns of items that both towers read, where the source has them; a title without events has nothing else."""
    newcomers: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of examples whose whole history is hidden, so that user features learn to speak for users without one."""
    budget: Annotated[str, Field(pattern=r"^\d+(\.\d+)?[smh]$")] | None = None
    """Time that training may take, e.g. `20m`; none: as long as the passes take."""
    warm_start: bool = True
    """Whether `auto` retrains an outdated model from where it ended, if no setting differs."""
    warm_epochs: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of the passes that a model which goes on is given."""
    warm_learning_rate: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of the learning rate that it begins with."""
    max_warm_starts: Count = 7
    """After so many warm starts in a row training begins from new weights."""
    fill_in_weight_decay: Annotated[float, Field(ge=0, le=100)] = 3.0
    """`fill_in`: as `weight_decay`, where it is the only objective."""
    rating_weight: Annotated[float, Field(ge=0, le=100)] = 0.0
    """Of a second task, predicting ratings where there are any, against the first; 0 leaves it out."""
