"""Optuna is imported when the first sweep needs it, and by the process that reconciles alone."""

import subprocess
import sys

CHECK = """
import sys
import backend.app, backend.experiments.reconciler, backend.sweeps.driver
print(sorted({"optuna", "numpy"} & set(sys.modules)))
"""


def test_idle_processes_do_not_import_optuna():
    done = subprocess.run([sys.executable, "-c", CHECK], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"
