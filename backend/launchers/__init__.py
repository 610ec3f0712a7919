"""The launchers, which run attempts in a Kubernetes cluster or on this machine."""

from backend.launchers.base import Launcher
from backend.settings import Settings


def make_launcher(settings: Settings) -> Launcher:
    """Return the launcher that the settings choose.

    Only that one is imported: the Kubernetes client takes 0.3 s and 14 MB.
    """
    if settings.launcher == "kubernetes":
        from backend.launchers.kubernetes.launcher import KubernetesLauncher

        return KubernetesLauncher(settings)
    from backend.launchers.local.launcher import LocalLauncher

    return LocalLauncher(settings)


def slots_of(settings: Settings) -> int | None:
    """Return how many attempts run at the same time; None on Kubernetes, which decides itself."""
    if settings.launcher == "kubernetes":
        return None
    from backend.launchers.local.processors import default_slots

    return settings.local_slots or default_slots()
