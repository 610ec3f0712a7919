import math

import pytest

from backend.domain.numbers import is_number


@pytest.mark.parametrize("value", [0, -1.5, 1e308, 2**53])
def test_finite_number(value):
    assert is_number(value)


@pytest.mark.parametrize("value", [None, True, "1", [1], math.nan, math.inf, 10**400])
def test_no_finite_number(value):
    assert not is_number(value)


def test_range():
    assert is_number(0, 0, 10)
    assert is_number(10, 0, 10)
    assert not is_number(-1, 0, 10)
    assert not is_number(10.5, 0, 10)
