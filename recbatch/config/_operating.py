"""Sections about what is checked, kept and told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from pydantic import Field, field_validator

from recbatch.config._base import Count, Positive, Section, Share


class Audit(Section):
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


class Gc(Section):
    """What `recbatch gc` keeps; a run is deleted when it is beyond both limits."""

    keep_days: Count = 7
    """Days since another run took its place in front of readers, or since it was rolled back."""
    keep_runs: Positive = 7
    """The newest live runs stay, however old they are."""
    keep_history_days: Count = 400
    """Days for which manifest, metrics, audits and outcomes of a deleted run stay."""


class Ops(Section):
    """Who is told how a night went, and who may read; no result depends on it, and no manifest repeats it."""

    reader_group: Annotated[str, Field(min_length=1)] | None = None
    """Unix group whose members may read the lake (files 0640, folders 2750); none: the group of whoever runs nights."""
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
