"""A trainer that handles no signal. It counts, and writes down what it has printed."""

import os
import time
from pathlib import Path

printed = Path(os.environ["OUTPUT_DIR"]) / "printed"
number = 0
while True:
    number += 1
    print(number)
    printed.write_text(str(number))
    time.sleep(0.02)
