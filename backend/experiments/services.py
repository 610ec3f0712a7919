"""Builds all services of a process from its settings."""

from dataclasses import dataclass
from functools import partial

from backend.experiments.annotations import Annotating
from backend.experiments.archive import Archive
from backend.experiments.data_sets.service import DataSets
from backend.experiments.events import TransitionFeed
from backend.experiments.gangs.worker_logs import GangLogs
from backend.experiments.models import Models
from backend.experiments.overview import Overview
from backend.experiments.reconciling.departures import Departures
from backend.experiments.reconciling.resources import ResourceSampler
from backend.experiments.reconciling.summaries import Summaries
from backend.experiments.recorder import Recorder
from backend.experiments.service import Experiments
from backend.files.catalogue.entries import BUILT_IN, CatalogueFiles, catalogue_files
from backend.files.curves import Curves
from backend.files.inputs import Inputs
from backend.files.outputs import Outputs
from backend.files.resource_files import ResourceFiles
from backend.launchers import make_launcher
from backend.launchers.base import Launcher
from backend.launchers.owner import owner_of
from backend.settings import Settings
from backend.store.queries import Store
from backend.store.related.data_sets import DataSetTable
from backend.store.related.metrics import MetricSummaries
from backend.store.related.named import NamedValues


@dataclass(frozen=True)
class Services:
    """The services that roles, routes and tests use; each is created once and shared."""

    store: Store
    launcher: Launcher
    inputs: Inputs
    data_sets: DataSets
    outputs: Outputs
    curves: Curves
    logs: GangLogs
    events: TransitionFeed
    archive: Archive
    recorder: Recorder
    summaries: Summaries
    resources: ResourceFiles
    sampler: ResourceSampler
    departures: Departures
    models: Models
    experiments: Experiments
    overview: Overview
    annotations: Annotating

    def close(self) -> None:
        """Close the connections to the database and to the launcher; Jobs keep running."""
        self.store.close()
        self.launcher.close()


def build(settings: Settings, launcher: Launcher | None = None) -> Services:
    """Return the services that `settings` describe. Nothing connects before its first use.

    Args:
        settings: the settings of the process.
        launcher: used instead of the one that `settings` name; whose the database is, is then not
            checked.
    """
    find_owner = None if launcher else partial(owner_of, settings)
    return assemble(
        Store(settings.database_url, find_owner=find_owner),
        launcher or make_launcher(settings),
        Inputs(settings.input_dir),
        Outputs(settings.output_dir),
        catalogue_files(settings),
        log_max_bytes=settings.log_max_bytes,
    )


def assemble(
    store: Store,
    launcher: Launcher,
    inputs: Inputs,
    outputs: Outputs,
    catalogue: CatalogueFiles | None = None,
    *,
    log_max_bytes: int,
) -> Services:
    """Return the services that use these parts.

    Args:
        store: the database.
        launcher: where Jobs run.
        inputs: the input folder.
        outputs: the output folder.
        catalogue: the files of the models; those of this program by default.
        log_max_bytes: the size to which a longer log is shortened when it is saved.
    """
    logs = GangLogs(launcher, outputs, max_bytes=log_max_bytes)
    archive = Archive(store, outputs)
    recorder = Recorder(store, outputs, logs, archive)
    events = TransitionFeed(store.transitions)
    models = Models(catalogue or CatalogueFiles([BUILT_IN]), store)
    curves = Curves(outputs)
    resources = ResourceFiles(outputs)
    data_sets = DataSets(DataSetTable(store.database), inputs)
    values = NamedValues(store.database)
    return Services(
        store=store,
        launcher=launcher,
        inputs=inputs,
        data_sets=data_sets,
        outputs=outputs,
        curves=curves,
        logs=logs,
        events=events,
        archive=archive,
        recorder=recorder,
        models=models,
        summaries=Summaries(store, MetricSummaries(store.database), outputs, curves, values),
        resources=resources,
        sampler=ResourceSampler(store, launcher, resources),
        departures=Departures(store, logs, launcher.log_source),
        experiments=Experiments(
            store, launcher, inputs, data_sets, outputs, logs, archive, recorder, events, models
        ),
        overview=Overview(store, launcher),
        annotations=Annotating(store, values, archive),
    )
