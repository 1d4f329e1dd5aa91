"""The night: yesterday's interactions in, an audited set of tables out. Read `night` from top to bottom."""

from __future__ import annotations

from dataclasses import asdict
from datetime import date

from recbatch import dataset, kernels, publish, score, withdrawn
from recbatch.config import Config
from recbatch.store import Lake

from . import _lake, _memory, _run, _shards
from ._again import audit_again, stopped
from ._audit import Beside, audit, close
from ._input import Input
from ._items import leave_out
from ._judge import judge_or_fall_back
from ._later import later
from ._model import TakeTrained, fit_or_reload
from ._plan import plan as make_plan
from ._price import prices
from ._rules import rule_book
from ._run import Night
from ._say import Say


def night(
    lake: Lake,
    config: Config,
    run_date: date,
    say: Say,
    *,
    source: Input | None = None,
    ahead: TakeTrained | None = None,
    force: bool = False,
    allow_degraded: str | None = None,
) -> Night:
    """Runs one night; the caller holds the lake's lock.

    Args:
        lake: where runs and models live.
        config: settings.
        run_date: D: events before D 00:00 UTC count.
        say: hears of stages, progress and decisions.
        source: the input, where a command reads it for several dates.
        ahead: gives what such a command has trained for the date already.
        force: publish another run of a date that is done.
        allow_degraded: reason for publishing in spite of a failed audit or gate; a failed gate then means
            popularity-only rows.

    Returns:
        What was published, or what stands for the date already.

    Raises:
        RecbatchError: see `recbatch.errors`; readers still see what they saw.
    """
    _memory.keep_freed()
    _lake.share(lake, config.ops.reader_group)
    live = _lake.repair(lake)
    kernels.keep_in(lake.kernels)
    run_id = say.run_id = _lake.run_id_for(lake, live, run_date, force=force)

    say.stage("read")
    if source is None:
        _memory.require_to_read(config, run_date)
    tables = (source or Input(config, run_date)).before(lake, run_date, say)
    gone = withdrawn.read(lake)
    tables = leave_out(tables, gone, merge_by_title=config.source.merge_by_title)
    data = dataset.build(tables, config.dataset, run_date, merge_by_title=config.source.merge_by_title)
    book = rule_book(config, data, tables)
    tables = tables.without_interactions()
    already = _lake.done(lake, live, data, config, book.file_facts)
    if already and not force:
        return Night.already(already)
    parent = _lake.parent_of(lake, live, run_date)
    rules = book.rules(run_date)
    beside = Beside(lambda: _run.seen(data, config, rules), lambda: book.laws(rules))
    blocked = None if force else stopped(lake, data, config, parent, gone, book.file_facts)
    if blocked:
        return audit_again(lake, live, blocked, beside, config, parent, say, allow_degraded)
    _memory.require(data, config)
    popular = later(lambda: score.by_popularity(data, data.events, data.run_date, config.popular))

    say.stage("train")
    model = fit_or_reload(lake, data, config, parent, say, ahead)

    say.stage("judge")
    model, outcome = judge_or_fall_back(lake, model, data, config, parent, say)

    say.stage("index")
    plan = make_plan(lake, model, outcome, data, popular(), config, rules, allow_degraded, parent)
    say.event("index", engine=plan.engine, decisions=plan.decisions)

    say.stage("score")
    folder = publish.stage(lake, run_id)
    recommended, rows, scored = _shards.write(lake, folder, plan, model, data, config, say, parent)

    say.stage("write")
    paid = prices(book, model if plan.certificate else None, data, config)
    rows |= _run.write_tables(folder, plan, model, outcome, data, tables, recommended, config, paid)
    head = _run.head(run_id, config, data, tables, model, outcome, plan, parent) | {
        **scored,
        "withdrawn": list(gone),
        "rule_files": book.file_facts,
        "rules": [asdict(price) for price in paid],
    }

    say.stage("audit")
    head, verdict = audit(lake, live, folder, head, beside, config, plan.audits, allow_degraded)
    return close(lake, live, folder, head, verdict, rows, say)
