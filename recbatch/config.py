"""SETTINGS: frozen, closed, explained. An unknown key is an error; every field says its unit and range.

`load` reads `recbatch.toml` and lays overrides over it. Precedence (flag > environment > file > default) is the
caller's: the environment is never read here.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from recbatch.errors import ConfigError, InputMissing
from recbatch.schemas import ACTIVITY

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, validate_default=True)


class Source(_Section):
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


class Data(_Section):
    """From events to one night's dataset."""

    max_events_per_day: Positive = 2_000
    """A user who did more than this on one day is no human: flagged, served, but nothing is learned from them."""
    min_rating: float | None = None
    """Events rated below are no positives and are left out; none: every event counts."""


class Judge(_Section):
    """The slice of days on which tonight's model is judged before anyone sees it."""

    users_wanted: Positive = 200
    """The slice is the fewest days that hold this many users."""
    max_days: Positive = 30
    """… and at most this many days."""
    users_needed: Positive = 50
    """Fewer users than this cannot judge: the night is published as `not_judged`, with a warning."""
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


class Train(_Section):
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


class Index(_Section):
    """Top-k search."""

    engine: Literal["auto", "exact", "brute", "ah", "tree"] = "auto"
    """`auto` measures on a sample of tonight's users: the cheapest that reaches the target, building it included."""
    exact_seconds: Annotated[float, Field(ge=0)] = 20.0
    """`auto`: exact search, and nothing is measured, where it takes fewer seconds (ScaNN's import alone: 11)."""
    calibration_seconds: Annotated[float, Field(gt=0)] = 20.0
    """`auto`: after so long no further setting is tried; an index that is being built is finished."""
    target_recall: Share = 0.99
    """Least recall@k against exact search; below it the index is retuned, then replaced by exact search."""
    certify_users: Positive = 2_000
    """Users on whom the certificate is measured."""


class Score(_Section):
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


class Popular(_Section):
    """What unknown users get."""

    segments: tuple[str, ...] = ()
    """User features that get a list of their own, e.g. `gender`."""
    half_life_days: Annotated[float, Field(gt=0)] = 30.0
    """Within a segment, an event this old counts half; the overall list learns this from the data."""
    prior_events: Annotated[float, Field(gt=0)] = 200.0
    """Within a segment, how many events' worth of overall popularity is mixed in."""
    length: Positive = 500
    """Rows per segment in the published table; at least k + buffer are kept."""


class Rules(_Section):
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


class Audit(_Section):
    """What stops a publication (`least_kept`, checks of your own) and what is told of it."""

    extra_checks: str | None = None
    """Folder of further `*.sql` checks."""
    runs_compared: Positive = 7
    """Earlier runs that tonight's input is compared with: a week of nights."""
    least_kept: Share = 0.5
    """Share of the parent run's events, users or titles; fewer stop the night: most lists would be wrong."""
    max_events_lost: Share = 0.01
    """Share of the largest recent input; histories only grow, but for forgotten users and repaired rows."""
    volume_factor: Annotated[float, Field(gt=1)] = 3.0
    """Times the usual events of a newest day, up or down, that are told; weekends and holidays stay within."""
    max_staleness_days: Annotated[float, Field(ge=0)] = 1.0
    """Days by which the newest event may be older than in the stalest recent run."""
    max_cold_rise: Share = 0.1
    """Share of cold users above the recent median; newcomers come by a few percent a night."""
    max_new_users: Share = 0.25
    """Share of users that the parent run did not know; more at once look like ids written another way."""
    max_new_titles: Share = 0.25
    """As `max_new_users`, of titles."""
    max_titles_gone: Share = 0.1
    """Share of the parent's titles that are missing; catalogues lose a few at a time."""
    max_listed_titles_changed: Share = 0.5
    """Share of the titles in tonight's or the parent's lists that stand in one of the two only."""
    least_overlap: Share = 0.3
    """Mean share of titles that stay in a user's list; another training leaves more than half in place."""
    max_replaced: Share = 0.05
    """Share of users whose list has no title in common with the one before."""
    max_score_shift: Annotated[float, Field(ge=0)] = 0.25
    """Population stability index of the first ten model scores against the parent's; from .25 on a shift is large."""

    @property
    def folder(self) -> Path | None:
        """`extra_checks` as a path."""
        return Path(self.extra_checks) if self.extra_checks else None


class Gc(_Section):
    """What `recbatch gc` keeps; a run is deleted when it is beyond both limits."""

    keep_days: Count = 7
    """Days since another run took its place in front of readers, or since it was rolled back."""
    keep_runs: Positive = 7
    """The newest live runs stay, however old they are."""
    keep_history_days: Count = 400
    """Days for which manifest, metrics, audits and outcomes of a deleted run stay."""


class Ops(_Section):
    """Who is told how a night went; no result depends on it, and no manifest repeats it."""

    metrics_file: str | None = None
    """Prometheus textfile, written whole after every night, failed ones included; none: no file."""
    ping_url: str | None = None
    """http(s) address of a healthchecks-style monitor: asked for …/start, then itself or …/fail; none: nobody."""
    ping_timeout_seconds: Annotated[float, Field(gt=0, le=60)] = 5.0
    """How long the night waits for one ping; a ping that fails is logged and changes nothing."""
    lineage: bool = False
    """Whether OpenLineage events are sent; where to, its client's own settings say (OPENLINEAGE_URL, …)."""
    lineage_namespace: Annotated[str, Field(min_length=1)] = "recbatch"
    """Namespace of the job in OpenLineage events."""

    @field_validator("ping_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"https?://[^\s/]+\S*", value):
            raise ValueError("expected an address that begins with http:// or https://")
        return value


class Config(_Section):
    """Everything a night depends on besides its input, its date and its parent."""

    seed: Count = 42
    """Seed of every random choice."""
    source: Source = Source()
    dataset: Data = Data()
    judge: Judge = Judge()
    train: Train = Train()
    index: Index = Index()
    score: Score = Score()
    popular: Popular = Popular()
    rules: Rules = Rules()
    audit: Audit = Audit()
    gc: Gc = Gc()
    ops: Ops = Ops()

    @model_validator(mode="after")
    def _lists_fit(self) -> Config:
        if self.score.k + self.score.buffer > 32_767:
            raise ValueError("score.k + score.buffer exceeds 32767, the largest rank")
        return self

    def digest(self, *sections: str) -> str:
        """Hex sha256 over the named sections (all where none is named): equal settings, equal digest."""
        values = self.model_dump(mode="json")
        chosen = {name: values[name] for name in sections} if sections else values
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()


def load(path: Path | None = None, overrides: dict[str, Any] | None = None) -> Config:
    """Settings from a TOML file with overrides laid over it.

    Args:
        path: the file; none for defaults only.
        overrides: dotted key → value, e.g. {"score.k": 50}. A value that is a string is read as TOML where it parses
            as TOML ("50", "true", "[1, 2]"), as text otherwise.

    Returns:
        The frozen configuration.

    Raises:
        InputMissing: `path` does not exist.
        ConfigError: not TOML, an unknown key, a wrong type or a value out of range; names file and key.
    """
    values: dict[str, Any] = {}
    if path is not None:
        if not path.is_file():
            raise InputMissing(f"{path}: no such configuration file; write one with `recbatch config show > {path}`")
        try:
            values = tomllib.loads(path.read_text("utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise ConfigError(f"{path}: not valid TOML: {error}; correct that line") from error
    for key, value in (overrides or {}).items():
        _put(values, key, _parsed(value))
    try:
        return Config.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_explain(error, path)) from error


def of_record(values: dict[str, Any]) -> Config:
    """Settings as a manifest holds them, by this release or another: keys that are unknown here are left out.

    Raises:
        ConfigError: a value is out of this release's range.
    """
    known: dict[str, Any] = {}
    for name, field in Config.model_fields.items():
        section, value = field.annotation, values.get(name)
        if isinstance(section, type) and issubclass(section, _Section) and isinstance(value, dict):
            known[name] = {key: inner for key, inner in value.items() if key in section.model_fields}
        elif name in values:
            known[name] = value
    try:
        return Config.model_validate(known)
    except ValidationError as error:
        raise ConfigError(_explain(error, None)) from error


def changes(was: dict[str, Any], now: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Dotted key → {was, now} of every setting that differs, in key order; none where a side lacks the key."""
    before, after = _flat(was), _flat(now)
    return {
        key: {"was": before.get(key), "now": after.get(key)}
        for key in sorted({*before, *after})
        if before.get(key) != after.get(key)
    }


def _flat(settings: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return flat


def memory_bytes(text: str) -> int:
    """Bytes in a size such as `4GiB`, `512MiB` or `1000000`.

    Raises:
        ConfigError: the text is not a positive size.
    """
    units = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
    number, unit = (text[:-3], units[text[-3:]]) if text[-3:] in units else (text, 1)
    try:
        size = int(float(number) * unit)
    except (ValueError, OverflowError):
        size = 0
    if size <= 0:
        raise ConfigError(f"memory size {text!r}: expected a positive number with KiB, MiB or GiB, e.g. 4GiB")
    return size


def seconds(text: str) -> float:
    """Seconds in a time such as `90s`, `20m` or `1.5h`."""
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600}[text[-1]]


def to_toml(config: Config) -> str:
    """The configuration as a commented TOML file that `load` reads back to an equal configuration."""
    lines: list[str] = []
    for name, field in Config.model_fields.items():
        value = getattr(config, name)
        if isinstance(value, _Section):
            lines += ["", f"[{name}]  # {(type(value).__doc__ or '').splitlines()[0]}"]
            for key, inner in type(value).model_fields.items():
                lines.append(_toml_line(key, getattr(value, key), inner.description))
        else:
            lines.append(_toml_line(name, value, field.description))
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A setting's value as TOML: JSON is, for the scalars and flat arrays used here; mappings become inline tables."""
    if isinstance(value, dict):
        return (
            "{"
            + ", ".join(f"{json.dumps(key, ensure_ascii=False)} = {toml_value(v)}" for key, v in value.items())
            + "}"
        )
    return json.dumps(value, ensure_ascii=False)


def _toml_line(key: str, value: Any, comment: str | None) -> str:
    # TOML has no null, so an unset key is shown commented out.
    text = f"# {key} =" if value is None else f"{key} = {toml_value(value)}"
    return f"{text}  # {' '.join((comment or '').split())}"


def _put(values: dict[str, Any], key: str, value: Any) -> None:
    *sections, last = key.split(".")
    for section in sections:
        values = values.setdefault(section, {})
        if not isinstance(values, dict):
            raise ConfigError(f"--set {key}: {section} is a value, not a section; see `recbatch config show`")
    values[last] = value


def _parsed(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return tomllib.loads(f"v = {value}")["v"]
    except tomllib.TOMLDecodeError:
        return value


def _explain(error: ValidationError, path: Path | None) -> str:
    first = error.errors(include_url=False)[0]
    key = ".".join(str(part) for part in first["loc"])
    where = f"{path}: " if path else ""
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, _keys(), n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else "see `recbatch config show` for every key"
        return f"{where}unknown setting {key}; {hint}"
    message = str(first["msg"]).removeprefix("Value error, ")
    return f"{where}setting {key or 'combination'}: {message}, got {first['input']!r:.80}; see `recbatch config show`"


def _keys() -> list[str]:
    keys: list[str] = []
    for name, field in Config.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, _Section):
            keys += [name, *(f"{name}.{key}" for key in section.model_fields)]
        else:
            keys.append(name)
    return keys
