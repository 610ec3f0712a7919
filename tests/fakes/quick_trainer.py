"""A trainer of few lines: a loss that falls, and an end after the last epoch.

From 1,000 epochs on it stops after the first one, until it is cancelled.
"""

import json
import os
import signal
from pathlib import Path

epochs, rate = int(os.environ["EPOCH"]), float(os.environ["LEARNING_RATE"])
with Path("metrics.jsonl").open("a") as metrics:
    for epoch in range(1, epochs + 1):
        loss = 1 / (1 + epoch * rate)
        metrics.write(json.dumps({"epoch": epoch, "loss": loss, "val_loss": loss}) + "\n")
        metrics.flush()
        print(f"epoch {epoch}/{epochs}  val_loss {loss:.4f}", flush=True)
        if epochs >= 1000:
            signal.pause()
