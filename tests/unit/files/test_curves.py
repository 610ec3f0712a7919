import json
import math
import os
import random

import pytest

from backend.files import curve_table
from backend.files import curves as module
from backend.files.curve_table import Curve
from backend.files.curves import Curves
from backend.files.downsampling import choose_rows
from backend.files.metrics import MAX_METRICS
from backend.files.outputs import Outputs


@pytest.fixture
def file(tmp_path):
    (tmp_path / "first").mkdir()
    return tmp_path / "first" / "metrics.jsonl"


@pytest.fixture
def curves(tmp_path):
    return Curves(Outputs(tmp_path))


def write(file, *rows):
    with file.open("a") as out:
        out.writelines(json.dumps(row) + "\n" for row in rows)


def damage(file):
    """Make the first lines unreadable, unless they were read before."""
    with file.open("r+b") as out:
        out.write(b"x" * (file.stat().st_size // 2))


def rows(begin, end, loss=1.0):
    return [{"epoch": epoch, "loss": loss / epoch} for epoch in range(begin, end)]


def test_curve_by_columns(curves, file):
    write(file, {"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "val_loss": 1})
    curve = curves.read("first")

    assert curve.epochs == [1, 2]
    assert curve.series == {"loss": [0.5, 0.25], "val_loss": [None, 1.0]}
    assert curve.points == 2


def test_no_curve_yet(curves, file):
    assert curves.read("first") == curves.read("nobody") == Curve([], {}, 0)


def test_non_finite_values_are_none(curves, file):
    write(file, {"epoch": 1, "loss": math.nan, "name": "x"}, {"epoch": 2, "loss": math.inf})
    write(file, {"epoch": 3, "loss": "0.5"}, {"epoch": 4, "loss": 10**400})
    write(file, {"epoch": 5, "loss": 0.5}, {"epoch": 6})

    assert curves.read("first").series == {"loss": [None, None, None, None, 0.5, None]}


NO_OBJECTS = ("", "nonsense", "[1, 2]", "17", "null", '"text"', "\0", "\x80", '{"epoch"')
TWO_OBJECTS = '{"epoch": 2}, {"epoch": 3}'
DEEP = ("[" * 100_000, '{"a": ' * 9000)
LONG_NUMBERS = ("1" * 70_000, "9" * 5000)


@pytest.mark.parametrize("line", [*NO_OBJECTS, TWO_OBJECTS, *DEEP, *LONG_NUMBERS], ids=range(14))
def test_non_object_line_is_skipped(curves, file, line):
    write(file, {"epoch": 1, "loss": 1})
    with file.open("a", encoding="latin-1") as out:
        out.write(line + "\n")
    write(file, {"epoch": 2, "loss": 2})

    assert curves.read("first").epochs == [1, 2]
    assert curves.read("first").series == {"loss": [1, 2]}


@pytest.mark.parametrize(
    "lines",
    [['{"epoch": 2}, {"epoch": 3}'], ['{"epoch": 2, "lists": [{}', "{}]}"]],
)
def test_joined_lines_are_not_json(curves, file, lines):
    """Lines that form JSON only when joined by commas are skipped one by one."""
    good = [json.dumps(row) for row in rows(1, 3)]
    file.write_text("\n".join([good[0], *lines, good[1]]) + "\n")

    assert curves.read("first").epochs == [1, 2]


def test_partial_line_waits(curves, file):
    file.write_text('{"epoch": 1, "loss": 1}\n{"epoch": 2, "lo')
    assert curves.read("first").epochs == [1]

    with file.open("a") as out:
        out.write('ss": 2}\n')
    assert curves.read("first").series == {"loss": [1, 2]}


def test_only_new_lines_are_parsed(curves, file):
    write(file, *rows(1, 1000))
    curves.read("first")
    damage(file)
    write(file, {"epoch": 1000, "loss": 0})

    assert curves.read("first").epochs == list(range(1, 1001))


def test_file_truncated_and_extended(curves, file):
    """A retry truncates the file to its checkpoint, then writes more than there was."""
    write(file, *rows(1, 101))
    curves.read("first")
    kept = "".join(file.read_text().splitlines(keepends=True)[:50])
    with file.open("r+") as out:  # same inode, longer in the end
        out.truncate(len(kept))
    write(file, *rows(51, 201, loss=2.0))

    assert curves.read("first").series["loss"] == [1 / n for n in range(1, 51)] + [
        2 / n for n in range(51, 201)
    ]


def test_replaced_file_is_reread(curves, file):
    write(file, *rows(1, 101))
    curves.read("first")
    os.truncate(file, 0)
    assert curves.read("first").epochs == []

    write(file, *rows(1, 11))
    assert curves.read("first").epochs == list(range(1, 11))

    file.rename(file.parent / "old")
    write(file, *rows(5, 8))
    assert curves.read("first").epochs == [5, 6, 7]

    file.unlink()
    assert curves.read("first").epochs == []


def test_repeated_epoch_replaces_rest(curves, file):
    write(file, *rows(1, 6), *rows(3, 5, loss=2.0), {"epoch": 9, "loss": 0})
    curve = curves.read("first")

    assert curve.epochs == [1, 2, 3, 4, 9]
    assert curve.series["loss"] == [1, 1 / 2, 2 / 3, 2 / 4, 0]
    assert curve.points == 5


@pytest.mark.parametrize("epoch", [None, "x", 1.5, True, -1, 2**60])
def test_missing_epoch_counts_on(curves, file, epoch):
    write(file, {"epoch": 4, "loss": 1}, {"epoch": epoch, "loss": 2})

    assert curves.read("first").epochs == [4, 5]


def test_epochs_may_begin_with_0(curves, file):
    write(file, {"epoch": 0, "loss": 1}, {"epoch": 1, "loss": 2})

    assert curves.read("first").epochs == [0, 1]
    assert curves.read("first", since_epoch=0).epochs == [1]


def test_since_epoch(curves, file):
    write(file, *rows(1, 11))

    assert curves.read("first", since_epoch=8).epochs == [9, 10]
    assert curves.read("first", since_epoch=8).points == 10
    assert curves.read("first", since_epoch=10).epochs == []


@pytest.mark.parametrize("length", [60, 1000, 20_000])
@pytest.mark.parametrize("max_points", [2, 40, 500])
def test_thinning_keeps_ends_and_spikes(curves, file, length, max_points):
    chance = random.Random(length)
    written = [
        {"epoch": n, "loss": chance.random(), "val_loss": chance.random()} for n in range(length)
    ]
    spike, dip = length // 3, length // 2
    written[spike]["loss"], written[dip]["val_loss"] = 9, -9
    write(file, *written)
    curve = curves.read("first", max_points=max_points)

    assert len(curve.epochs) <= max(max_points, 2 * 2 + 2)
    assert len(curve.epochs) > max_points // 3 or length == 60
    assert curve.epochs[0] == 0
    assert curve.epochs[-1] == length - 1
    assert curve.series["loss"][curve.epochs.index(spike)] == 9
    assert curve.series["val_loss"][curve.epochs.index(dip)] == -9
    for number, epoch in enumerate(curve.epochs):
        assert curve.series["loss"][number] == written[epoch]["loss"]


def test_thinning_since_epoch_after_cut(curves, file):
    write(file, *rows(1, 5000))
    curves.read("first", max_points=10)
    write(file, *rows(4000, 9000), {"epoch": 9000, "loss": 77}, *rows(9001, 9100))
    curve = curves.read("first", since_epoch=3000, max_points=10)

    assert curve.epochs[0] == 3001
    assert curve.epochs[-1] == 9099
    assert 9000 in curve.epochs


def test_gaps_are_no_extremes():
    values = [math.nan, 3.0, math.nan, 1.0, 2.0, math.nan]

    assert choose_rows(range(6), [values], 4) == [0, 1, 3, 5]
    assert choose_rows(range(6), [[math.nan] * 6], 4) == [0, 5]
    assert choose_rows(range(6), [], 4) == [0, 5]


def test_long_curve_is_bounded(curves, file, monkeypatch):
    monkeypatch.setattr(curve_table, "MAX_NUMBERS", 1000)
    monkeypatch.setattr(module, "LARGE_PIECE_BYTES", 1000)
    write(file, *rows(1, 5000), {"epoch": 5000, "loss": 5}, *rows(5001, 10_001))
    curve = curves.read("first")

    assert len(curve.epochs) <= 1000 // 2
    assert curve.points == 10_000
    assert curve.series["loss"][curve.epochs.index(5000)] == 5
    assert (curve.epochs[0], curve.epochs[-1]) == (1, 10_000)
    middle = sum(epoch <= 5000 for epoch in curve.epochs)
    assert 0.25 < middle / len(curve.epochs) < 0.75  # old epochs as densely as new ones


def test_metric_count_is_bounded(curves, file):
    write(file, {"epoch": 1} | {f"metric {n}": n for n in range(1000)} | {"x" * 1000: 1})

    assert len(curves.read("first").series) == MAX_METRICS


def test_first_metrics_in_order_of_the_file(curves, file):
    """Which metrics a long line has does not depend on hashes, and the others are named."""
    names = ["val_loss", "loss", *(f"metric {n}" for n in range(44, 0, -1))]
    write(file, {"epoch": 1} | {"text": "x"} | dict.fromkeys(names, 0.5))
    write(file, {"epoch": 2, "another": 1})
    curve = curves.read("first")

    assert list(curve.series) == names[:MAX_METRICS]
    assert curve.left_out == (*names[MAX_METRICS:], "another")


def test_metrics_do_not_depend_on_pieces(tmp_path, file, monkeypatch):
    """A file that is read line by line has the same metrics as one that is read at once."""
    first = {f"metric {n}": n for n in range(30)}
    write(file, {"epoch": 1} | first, {"epoch": 2, "b": 1}, {"epoch": 1, "a": 1, "c": 2, "d": 3})
    whole = Curves(Outputs(tmp_path)).read("first")
    monkeypatch.setattr(module, "LINES_AT_ONCE", 1)

    assert Curves(Outputs(tmp_path)).read("first") == whole
    assert list(whole.series) == [*first, "b", "a"]
    assert whole.left_out == ("c", "d")


def test_last_of_two_lines_for_one_epoch(curves, file):
    write(file, {"epoch": 1, "loss": 9}, {"epoch": 1, "loss": 8}, {"epoch": 2, "loss": 7})
    write(file, {"epoch": 2, "loss": 6})

    assert curves.read("first").epochs == [1, 2]
    assert curves.read("first").series == {"loss": [8, 6]}


def test_fractional_epochs(curves, file):
    """A trainer may write several lines an epoch; a retry goes back to a fraction too."""
    write(file, *({"epoch": epoch, "loss": epoch} for epoch in (0.5, 1.0, 1.5, 2)))
    assert curves.read("first").epochs == [0.5, 1, 1.5, 2]
    assert list(map(type, curves.read("first").epochs)) == [float, int, float, int]
    assert curves.read("first", since_epoch=1.5).epochs == [2]

    write(file, {"epoch": 1.5, "loss": 0})
    assert curves.read("first").series == {"loss": [0.5, 1, 0]}


def test_fractional_epochs_are_thinned_evenly(curves, file):
    write(file, *({"epoch": n / 10_000, "loss": n % 7} for n in range(10_000)))

    assert len(curves.read("first", max_points=100).epochs) > 60


@pytest.mark.parametrize("end", ['{"epoch": 2, "loss": 2}', ' {"epoch": 2, "loss": 2} '])
def test_last_line_without_its_end(curves, file, end):
    """It may be incomplete while the trainer runs, and is complete once the trainer has ended."""
    file.write_text('{"epoch": 1, "loss": 1}\n' + end)

    assert curves.read("first").epochs == [1]
    for _ in range(2):
        assert curves.read("first", ended=True).epochs == [1, 2]
    write(file, {"epoch": 3, "loss": 3})  # a retry
    assert curves.read("first").epochs[-1] == 3


def test_half_a_last_line(curves, file):
    file.write_text('{"epoch": 1, "loss": 1}\n{"epoch": 2, "lo')
    assert curves.read("first", ended=True).epochs == [1]
    with file.open("a") as out:
        out.write('ss": 2}\n')

    assert curves.read("first", ended=True).epochs == [1, 2]


def test_long_line_is_skipped(curves, file):
    """A line longer than 64 KiB is skipped, wherever a piece ends."""
    write(file, {"epoch": 1, "loss": 1})
    write(file, {f"metric {n}": n for n in range(8000)})
    write(file, {"epoch": 2, "loss": 2})

    assert curves.read("first").series == {"loss": [1, 2]}


HOSTILE = {
    "newlines": b"\n" * 4_000_000,
    "invalid lines": b"{x}\n" * 1_000_000,
    "one epoch": b'{"epoch": 0}\n' * 300_000,
    "many keys": json.dumps({f"key {n}": "x" for n in range(4000)}).encode()
    + b"\n"
    + b"{}\n" * 9999,
    "a key a line": b"".join(b'{"key number %d": 1}\n' % n for n in range(12_000)),
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_work_for_hostile_lines_is_linear(curves, file, monkeypatch, content):
    """Few lines reach a JSON parser, and a call looks at each key of a row a few times at most."""
    keys = 0

    class Row(dict):
        def items(self):
            nonlocal keys
            keys += len(self)
            return super().items()

        def get(self, *arguments):
            nonlocal keys
            keys += 1
            return super().get(*arguments)

    parsed = module.parse_rows
    monkeypatch.setattr(module, "parse_rows", lambda lines: [Row(row) for row in parsed(lines)])
    file.write_bytes(content)
    curves.read("first")

    assert keys < len(content) * 4


def test_budget_is_shared(curves, tmp_path):
    """A list reads a bounded number of bytes of all its curves together."""
    for number in range(4):
        (tmp_path / str(number)).mkdir()
        write(tmp_path / str(number) / "metrics.jsonl", *rows(1, 101))
    budget = module.Budget(bytes=1, lines=10_000)
    curves_read = [curves.read(str(number), budget=budget) for number in range(4)]

    assert [curve.complete for curve in curves_read] == [True, False, False, False]
    assert curves.read("3").complete


def test_unusable_metric_names(curves, file):
    write(file, {"epoch": 1, "\ud800": 1, "\0": 2, "손실 1": math.nan}, {"epoch": 2, "손실 1": 3})

    assert curves.read("first").series == {"손실 1": [None, 3]}


def test_endless_line_is_bounded(curves, file, monkeypatch):
    monkeypatch.setattr(module, "MAX_LINE_BYTES", 100)
    monkeypatch.setattr(module, "LARGE_PIECE_BYTES", 64)
    write(file, {"epoch": 1, "loss": 1})
    with file.open("a") as out:
        out.write("x" * 1000)
    assert curves.read("first").epochs == [1]

    with file.open("a") as out:
        out.write("x" * 1000 + "\n")
    write(file, {"epoch": 2, "loss": 2})
    assert curves.read("first").epochs == [1, 2]


def test_huge_file_takes_several_calls(curves, file, monkeypatch):
    monkeypatch.setattr(module, "MAX_READ_BYTES", 1000)
    monkeypatch.setattr(module, "LARGE_PIECE_BYTES", 1000)
    write(file, *rows(1, 101))

    assert 1 < len(curves.read("first").epochs) < 100
    for _ in range(10):
        curve = curves.read("first")
    assert curve.epochs == list(range(1, 101))


def test_least_recently_used_evicted(curves, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_CACHED_NUMBERS", 700)
    for number in range(10):
        (tmp_path / str(number)).mkdir()
        write(tmp_path / str(number) / "metrics.jsonl", *rows(1, 101))
        assert len(curves.read(str(number)).epochs) == 100
        curves.read("0")

    numbers = ["9", "0", *map(str, range(1, 9))]
    for number in numbers:
        damage(tmp_path / number / "metrics.jsonl")
    cached = [number for number in numbers if len(curves.read(number).epochs) == 100]
    assert cached == ["9", "0"]


def test_link_and_pipe_are_no_curve(curves, file, tmp_path):
    write(tmp_path / "secret", *rows(1, 5))
    file.symlink_to(tmp_path / "secret")
    assert curves.read("first").epochs == []

    file.unlink()
    os.mkfifo(file)
    assert curves.read("first").epochs == []


def test_version_changes_with_file(curves, file):
    versions = [curves.version("first")]
    write(file, *rows(1, 5))
    versions.append(curves.version("first"))
    assert curves.version("first") == versions[-1]
    write(file, *rows(5, 6))
    versions.append(curves.version("first"))

    assert len(set(versions)) == 3


def test_processor_time_is_bounded(curves, file, monkeypatch):
    """Lines that take long to parse: a call ends after a piece, and the next ones continue."""
    write(file, *rows(1, 3001))
    seconds = iter(range(0, 10**9, 10))
    monkeypatch.setattr(module, "LARGE_PIECE_BYTES", 2**16)
    monkeypatch.setattr(module.time, "thread_time", lambda: next(seconds))
    monkeypatch.setattr(module, "MAX_READ_SECONDS", 15)  # one piece
    first = curves.read("first")
    assert not first.complete
    assert 0 < len(first.epochs) < 3000

    while not (curve := curves.read("first")).complete:
        pass
    assert list(curve.epochs) == list(range(1, 3001))


def test_elapsed_counts_epochs_that_are_not_returned(curves, file):
    written = [{"epoch": epoch, "loss": 1 / epoch, "seconds": 2} for epoch in range(1, 1001)]
    write(file, *written)
    coarse = curves.read("first", max_points=20)

    assert coarse.elapsed == [2 * epoch for epoch in coarse.epochs]
    assert len(coarse.epochs) <= 20
    write(file, {"epoch": 1001, "seconds": 5})
    assert curves.read("first", since_epoch=1000).elapsed == [2005]


def test_elapsed_of_a_retry_and_of_what_is_no_duration(curves, file):
    write(file, {"epoch": 1, "loss": 1})
    assert list(curves.read("first").elapsed) == []
    for epoch, seconds in enumerate([3, -1, "x", 1e300, 2], 2):
        write(file, {"epoch": epoch, "seconds": seconds})

    assert curves.read("first").elapsed == [0, 3, 3, 3, 3, 5]
    write(file, {"epoch": 3, "seconds": 7})
    assert curves.read("first").elapsed == [0, 3, 10]
