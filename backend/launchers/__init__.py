"""Where runs are started: a Kubernetes cluster, or this machine."""

from backend.launchers.base import Launcher
from backend.settings import Settings


def make_launcher(settings: Settings) -> Launcher:
    """Make the launcher that the settings ask for.

    The Kubernetes client takes 0.3 s and 14 MB to import, so only who needs it imports it.
    """
    if settings.launcher == "kubernetes":
        from backend.launchers.kubernetes.launcher import KubernetesLauncher

        return KubernetesLauncher(settings)
    from backend.launchers.local.launcher import LocalLauncher

    return LocalLauncher(settings)
