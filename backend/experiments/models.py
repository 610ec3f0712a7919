"""The models that experiments are made from."""

from collections.abc import Iterable

from backend.domain.attempt import Diagnosis
from backend.domain.catalogue import (
    CONTRACT,
    Catalogue,
    Choice,
    Entry,
    InvalidEntry,
    InvalidParameters,
)
from backend.domain.experiment import Experiment, Parameters
from backend.domain.objective import Goals
from backend.files.catalogue.entries import CatalogueFiles
from backend.launchers.base import LauncherRefused
from backend.store.queries import Store


class Models:
    """The catalogue of now, and the stored entries of existing experiments."""

    def __init__(self, files: CatalogueFiles, store: Store) -> None:
        self._files, self._store = files, store

    def catalogue(self) -> Catalogue:
        """Return all models, and what is wrong with entries that cannot be used."""
        return self._files.current()

    def find(self, name: str) -> tuple[Entry | None, str]:
        """Return a model's entry, or None and what is wrong with it; an empty text if unknown."""
        return self._files.find(name)

    def goals(self, names: Iterable[str]) -> Goals:
        """Return the objectives of these models, as the catalogue states them now."""
        entries = (self.find(name)[0] for name in dict.fromkeys(names))
        objectives = (entry.objective for entry in entries if entry and entry.objective)
        return {objective.metric: objective.goal for objective in objectives}

    def unknown_parameters(self, names: Iterable[str]) -> set[str]:
        """Return those names that neither a model nor an experiment has a parameter of.

        Raises:
            StoreUnavailable: the database cannot be used.
        """
        entries = self.catalogue().entries.values()
        known = {name for entry in entries for name in entry.parameters}
        return self._store.unknown_parameters(set(names) - known)

    def is_text(self, name: str) -> bool:
        """Return whether the parameter of this name is text in each model that has it."""
        entries = self.catalogue().entries.values()
        types = {entry.parameters[name].type for entry in entries if name in entry.parameters}
        return types == {"string"}

    def entry_of(self, experiment: Experiment) -> Entry | None:
        """Return the entry that an experiment was made from, or the one that takes its place.

        None for an experiment of a version without a catalogue. A rebuilt database has no entries:
        the one in run.json is not used, because a trainer can write to that file. The current entry
        then takes its place if it allows the same choice.

        Raises:
            LauncherRefused: there is no such entry.
            StoreUnavailable: the database cannot be used.
        """
        if experiment.entry_sha256 is None:
            return None
        found = self.entry(experiment.model, experiment.entry_sha256)
        is_allowed = found and (
            found.sha256 == experiment.entry_sha256 or _allows(found, experiment)
        )
        # A trainer can write to run.json, from which the number of nodes may have been restored.
        if found and is_allowed and found.gang_nodes == experiment.nodes:
            return found
        raise LauncherRefused(
            Diagnosis(
                "model_changed",
                f"The entry of the model {experiment.model!r} that this experiment was made from "
                "is lost, and the catalogue has none that allows the same parameters.",
                f"Restore the entry of {experiment.model!r} in MODELS_DIR, then retry.",
            )
        )

    def entry(self, model: str, sha256: str) -> Entry | None:
        """Return the stored entry with this digest, or else the current one of that model."""
        return self._stored(sha256) or self.find(model)[0]

    def as_submitted(
        self, parameters: Parameters, choice: Choice | None, existing: Experiment
    ) -> Parameters:
        """Return a new submission as it would have been recorded when `existing` was submitted.

        Sending the same fields again means the same, although the defaults may have changed since.

        Args:
            parameters: what was chosen now, with the defaults of now.
            choice: where they come from.
            existing: the experiment that has its id.
        """
        sha256, values = existing.entry_sha256, parameters.values
        if choice is None or sha256 == choice.entry.sha256 or existing.model != parameters.model:
            return parameters
        if sha256 is None:  # by a version that knew no other parameters: they had their defaults
            defaults = choice.entry.defaults
            values = {
                name: value
                for name, value in values.items()
                if name in CONTRACT or value != defaults.get(name)
            }
        elif stored := self._stored(sha256):
            values = stored.defaults | {name: values[name] for name in choice.sent}
        return parameters.with_values(values)

    def _stored(self, sha256: str) -> Entry | None:
        content = self._store.entry(sha256)
        try:
            return Entry.from_content(content) if content else None
        except InvalidEntry:  # this version allows less than the one that stored it
            return None


def _allows(entry: Entry, experiment: Experiment) -> bool:
    """Return whether an entry allows the parameters and the size of an experiment."""
    try:
        entry.parse(experiment.parameters.values)
    except InvalidParameters:
        return False
    return experiment.size is None or experiment.size in entry.sizes
