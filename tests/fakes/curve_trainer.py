"""A trainer that writes a short curve at once: the loss falls to the learning rate."""

import json
import os
import time
from pathlib import Path

PAUSE_SECONDS = 0.05  # in which it may be killed

epochs, rate = int(os.environ["EPOCH"]), float(os.environ["LEARNING_RATE"])
with Path("starts").open("a") as starts:
    starts.write(f"{os.environ['ATTEMPT']}\n")
with Path("metrics.jsonl").open("w") as metrics:
    for epoch in range(1, epochs + 1):
        metrics.write(json.dumps({"epoch": epoch, "val_loss": rate + 1 / epoch}) + "\n")
        metrics.flush()
        time.sleep(PAUSE_SECONDS)
Path("summary.json").write_text(json.dumps({"epochs": epochs}))
