"""OpenLineage events of a night: what it read, what it wrote, and which run started it (extra `lineage`)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any
from uuid import UUID

from recbatch import __version__, schemas
from recbatch.config import Config
from recbatch.contracts import Json
from recbatch.errors import ConfigError
from recbatch.store import Lake

from ._say import Say, now

_PRODUCER = f"urn:recbatch:{__version__}"
_LONGEST_MESSAGE = 2_000


@dataclass(slots=True)
class Lineage:
    """The events of one night; the client's own settings (environment, openlineage.yml) say where they go."""

    namespace: str
    source: str
    lake: Lake
    day: date
    parent: str | None
    client: Any
    run_uuid: str
    facets: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, config: Config, lake: Lake, day: date, parent: str | None) -> Lineage:
        """Prepares the events of a night; sends nothing.

        Raises:
            ConfigError: the client is not installed, or its own settings are unsound.
        """
        try:
            from openlineage.client import OpenLineageClient
            from openlineage.client.uuid import generate_new_uuid
        except ImportError as error:
            raise ConfigError(
                "ops.lineage: the OpenLineage client is not installed; `pip install 'recbatch[lineage]'`"
            ) from error
        try:
            client = OpenLineageClient()
        except Exception as error:
            raise ConfigError(
                f"ops.lineage: OpenLineage's own settings are unsound ({_line(error)}); see OPENLINEAGE_CONFIG"
            ) from error
        return cls(config.ops.lineage_namespace, config.source.uri, lake, day, parent, client, str(generate_new_uuid()))

    def start(self, say: Say) -> None:
        """Tells that the night begins."""
        self._emit("START", say)

    def complete(self, manifest: Json, say: Say) -> None:
        """Tells what was published."""
        self._emit("COMPLETE", say, manifest)

    def fail(self, line: str, say: Say) -> None:
        """Tells that the night ended without a run of its own."""
        try:
            from openlineage.client.generated.error_message_run import ErrorMessageRunFacet

            self.facets["errorMessage"] = ErrorMessageRunFacet(line[:_LONGEST_MESSAGE], "python", producer=_PRODUCER)
        finally:
            self._emit("FAIL", say)

    def _emit(self, kind: str, say: Say, manifest: Json | None = None) -> None:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.client.emit(self._event(kind, say, manifest))
        except Exception as error:  # a lineage server that is down is no concern of the night
            say.event("lineage_failed", kind=kind, error=_line(error))

    def _event(self, kind: str, say: Say, manifest: Json | None) -> Any:
        from openlineage.client.event_v2 import Job, Run, RunEvent, RunState
        from openlineage.client.generated.job_type_job import JobTypeJobFacet

        job = JobTypeJobFacet("BATCH", "RECBATCH", "JOB", producer=_PRODUCER)
        return RunEvent(
            eventType=RunState[kind],
            eventTime=now().isoformat(),
            run=Run(self.run_uuid, self._run_facets(say)),
            job=Job(self.namespace, "nightly", {"jobType": job}),
            inputs=[_input(self.source, manifest)],
            outputs=_outputs(self.lake, manifest) if manifest else [],
            producer=_PRODUCER,
        )

    def _run_facets(self, say: Say) -> dict[str, Any]:
        from openlineage.client.generated.nominal_time_run import NominalTimeRunFacet
        from openlineage.client.generated.processing_engine_run import ProcessingEngineRunFacet

        if self.parent and "parent" not in self.facets:
            parent = _parent(self.parent)
            if parent is None:
                say.event("lineage_parent_ignored", expected="NAMESPACE/JOB/RUN, RUN a UUID", parent=self.parent)
                self.parent = None
            else:
                self.facets["parent"] = parent
        nominal = NominalTimeRunFacet(f"{self.day.isoformat()}T00:00:00Z", producer=_PRODUCER)
        engine = ProcessingEngineRunFacet(__version__, "recbatch", producer=_PRODUCER)
        return {"nominalTime": nominal, "processing_engine": engine, **self.facets}


def _parent(text: str) -> Any:
    from openlineage.client.generated.parent_run import Job, ParentRunFacet, Run

    words = text.rsplit("/", 2)
    try:
        namespace, job, run = words
        return ParentRunFacet(Run(str(UUID(run))), Job(namespace, job), producer=_PRODUCER)
    except ValueError:
        return None


def _input(source: str, manifest: Json | None) -> Any:
    from openlineage.client.event_v2 import InputDataset
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet

    kind, _, rest = source.partition(":")
    if kind in ("files", "recbole", "duckdb"):
        namespace, name = "file", str(Path(rest).expanduser().absolute())
    else:
        namespace, name = "recbatch", source
    version: dict[str, Any] = {}
    if manifest:
        version = {"version": DatasetVersionDatasetFacet(manifest["fingerprint"], producer=_PRODUCER)}
    return InputDataset(namespace, name, facets=version)


def _outputs(lake: Lake, manifest: Json) -> list[Any]:
    from openlineage.client.event_v2 import OutputDataset
    from openlineage.client.generated.dataset_version_dataset import DatasetVersionDatasetFacet
    from openlineage.client.generated.output_statistics_output_dataset import OutputStatisticsOutputDatasetFacet
    from openlineage.client.generated.schema_dataset import SchemaDatasetFacet, SchemaDatasetFacetFields

    version = DatasetVersionDatasetFacet(manifest["run_id"], producer=_PRODUCER)
    return [
        OutputDataset(
            "file",
            str(lake.root.absolute() / table.name),
            {"outputStatistics": OutputStatisticsOutputDatasetFacet(manifest["rows"][table.name], producer=_PRODUCER)},
            facets={
                "version": version,
                "schema": SchemaDatasetFacet(
                    [SchemaDatasetFacetFields(c.name, str(c.type), c.comment) for c in table.columns],
                    producer=_PRODUCER,
                ),
            },
        )
        for table in schemas.RUN_TABLES
        if table.name in manifest["rows"]
    ]


def _line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
