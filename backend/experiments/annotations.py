"""What people add to experiments: tags, notes, favourites."""

from backend.domain.annotations.changes import AnnotationChange
from backend.domain.exceptions import UnknownExperiment
from backend.domain.experiment import Experiment
from backend.experiments.archive import Archive
from backend.store.queries import Store
from backend.store.related.named import NamedValues


class Annotating:
    """Changes annotations, in the database and then in run.json.

    Every method raises StoreUnavailable if the database cannot be used.
    """

    def __init__(self, store: Store, values: NamedValues, archive: Archive) -> None:
        self._store, self._values, self._archive = store, values, archive

    def change(self, experiment_id: str, change: AnnotationChange) -> Experiment:
        """Change the annotations of an experiment, whatever its status.

        Returns:
            The experiment as it is then.

        Raises:
            UnknownExperiment: there is none of that id.
            AnnotationsChanged: they have another revision than the change expects.
            TooManyTags: it would have too many tags; nothing was changed.
        """
        if self._values.annotate(experiment_id, change):
            experiment = self._store.get(experiment_id)
            if experiment:
                return self._archive.update_run_file(experiment) or experiment
        raise UnknownExperiment(experiment_id)

    def note(self, experiment: Experiment) -> str:
        """Return the note of an experiment; an empty text if it has none."""
        return self._store.note(experiment.id) if experiment.revision else ""
