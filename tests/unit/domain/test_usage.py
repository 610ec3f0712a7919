"""What attempts use: the gate for figures, peaks, and the sentence about memory."""

import math

import pytest

from backend.domain.execution.usage import Usage, highest, memory_sentence, read_usage

MIB = 2**20


def test_figures_are_read_by_name():
    values = {"cpu": 1.5, "memory": 3.0, "gpu": 0, "gpu_memory": 7, "other": 1}
    assert read_usage(values) == Usage(1.5, 3, 0.0, 7)
    assert read_usage({"peak_memory": 5, "memory": 6}, "peak_") == Usage(memory=5)


@pytest.mark.parametrize(
    "value", [None, "1", True, [], {}, -1, math.nan, math.inf, 1e300, 10**400, 2**53 + 2]
)
def test_no_figure_that_is_not_possible(value):
    assert read_usage(dict.fromkeys(Usage._fields, value)) == Usage()


def test_highest_takes_each_figure_for_itself():
    assert highest(Usage(1.0, 5), Usage(0.5, 7, gpu=0.1)) == Usage(1.0, 7, 0.1)
    assert highest(Usage(), Usage(0.0)) == Usage(0.0)
    assert highest(Usage(), Usage()) == Usage()


@pytest.mark.parametrize(
    ("peak", "limit", "sentence"),
    [
        (None, None, ""),
        (MIB, None, ""),
        (None, 2048 * MIB, " An experiment may use 2,048 MiB."),
        (199 * MIB, 200 * MIB, " It was seen to use 199 MiB; an experiment may use 200 MiB."),
    ],
)
def test_memory_sentence(peak, limit, sentence):
    assert memory_sentence(peak, limit) == sentence
