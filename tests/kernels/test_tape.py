"""A tape does what its calls do one by one, as machine code too."""

import numpy as np
import pytest

from distprop.comm.threads import run_ranks
from distprop.kernels import tape
from distprop.kernels.barrier import WAITING, wait_for_ranks
from distprop.kernels.jit import kernel
from distprop.kernels.tape import FAILED, Call, Cell, Conditional, Tape


@kernel
def _add(total, number, factor):
    total[0] += number * factor


@kernel
def _count_down(left):
    """1 when it has come to zero."""
    left[0] -= 1
    return 1 if left[0] == 0 else 0


@kernel
def _wait_twice(calls):
    calls[0] += 1
    return WAITING if calls[0] % 3 else 0


@kernel
def _double(values):
    for i in range(values.size):
        values[i] *= 2


@kernel
def _sum_up(totals, values):
    for value in values:
        totals[0] += value


@kernel
def _fail(matrix):
    matrix.reshape(matrix.size + 1)


@pytest.fixture(params=[0, 5, 10**9], ids=["compiled", "compiled later", "interpreted"])
def compile_after(request, monkeypatch):
    monkeypatch.setattr(tape, "COMPILE_AFTER", request.param)
    return request.param


def test_arguments_are_constants_or_read_when_the_call_is_made(compile_after):
    total, numbers = np.zeros(1, np.float32), np.array([1, 2, 3])
    calls = [
        Call(_add, (total, Cell(numbers, 2), np.float32(0.5)), ""),
        Call(_add, (numbers[2:], 1, 1), ""),
    ]
    two = Tape(calls)
    assert two.run(7) == 0
    assert numbers.tolist() == [1, 2, 10] and total[0] == sum(range(3, 10)) / 2
    assert two.run(0) == 0 and numbers[2] == 10


def test_a_kernel_that_returns_a_number_ends_the_tape_there(compile_after):
    total, left = np.zeros(2), np.array([8])
    calls = [
        Call(_add, (total[:1], 1.0, 1.0), ""),
        Call(_count_down, (left,), ""),
        Call(_add, (total[1:], 1.0, 1.0), ""),
    ]
    tape_of_three = Tape(calls)
    assert tape_of_three.run(100) == 1
    assert total.tolist() == [8, 7]
    left[0] = 3  # it begins from the start again
    assert tape_of_three.run(100) == 1
    assert total.tolist() == [11, 9]


def test_a_kernel_that_waits_is_called_again_and_python_looks_on(compile_after):
    total, calls, looks = np.zeros(2), np.zeros(1, np.int64), []
    waiting = [
        Call(_add, (total[:1], 1.0, 1.0), ""),
        Call(_wait_twice, (calls,), ""),
        Call(_add, (total[1:], 1.0, 1.0), ""),
    ]
    assert Tape(waiting).run(4, lambda: looks.append(calls[0])) == 0
    assert total.tolist() == [4, 4] and calls[0] == 12 and looks == [1, 2, 4, 5, 7, 8, 10, 11]


def test_what_looks_on_may_end_the_waiting(compile_after):
    def lose_patience():
        raise TimeoutError

    with pytest.raises(TimeoutError):
        Tape([Call(_wait_twice, (np.zeros(1, np.int64),), "")]).run(1, lose_patience)


def test_functions_of_python_may_stand_between_kernels(compile_after):
    total, seen = np.zeros(1), []
    calls = [
        Call(_add, (total, 1.0, 1.0), ""),
        Call(lambda: seen.append(total[0]), (), ""),
        Call(_add, (total, 1.0, 10.0), ""),
    ]
    assert Tape(calls).run(6) == 0
    assert seen == [1, 12, 23, 34, 45, 56] and total[0] == 66


def test_calls_on_a_condition_are_made_when_it_holds_wherever_they_stand(compile_after):
    total, seen, due = np.zeros(1), [], iter([True, False, False, False, True, True] * 2)
    count, look = Call(_add, (total, 1.0, 1.0), ""), Call(lambda: seen.append(total[0]), (), "")
    some = Conditional(lambda: next(due), (count, look))
    tape_of_three = Tape([some, Call(_add, (total, 1.0, 10.0), ""), some])
    assert tape_of_three.run(6) == 0
    assert seen == [1, 22, 33, 34, 55, 66] and total[0] == 66
    assert len(tape_of_three.calls) == 5


def test_calls_on_a_condition_may_wait_and_end_the_tape(compile_after):
    calls, left, looks = np.zeros(1, np.int64), np.array([3]), []
    some = Conditional(lambda: True, (Call(_wait_twice, (calls,), ""), Call(_count_down, (left,), "")))
    assert Tape([some]).run(10, lambda: looks.append(1)) == 1
    assert calls[0] == 9 and len(looks) == 6


def test_calls_on_a_condition_are_recorded_when_they_are_made():
    total, due, seen = np.zeros(1), iter([False, True]), []
    call = Call(_add, (total, 1.0, 1.0), "once")
    Tape([Conditional(lambda: next(due), (call,))]).run(2, record=lambda call, begin, end: seen.append(call.text))
    assert seen == ["once"]


def test_time_is_counted_by_phase(compile_after):
    large, total = np.zeros(300_000), np.zeros(1)
    calls = [
        Call(_add, (large, 1.0, 1.0), "", "short"),
        Call(np.sort, (large,), "", "long"),
        Call(_add, (total, 1.0, 1.0), "", "short"),
    ]
    timed = Tape(calls)
    timed.run(8)
    assert set(timed.seconds) == {"short", "long"} and timed.seconds["long"] > timed.seconds["short"] > 0


def test_an_exception_inside_a_kernel_is_not_lost(monkeypatch):
    monkeypatch.setattr(tape, "COMPILE_AFTER", 0)
    assert Tape([Call(_fail, (np.zeros((2, 2)),), "")]).run() == FAILED


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_no_rank_leaves_a_barrier_before_all_have_come(ranks, compile_after):
    def work(comm):
        count, target = comm.shared_zeros((1,), np.int64), np.zeros(1, np.int64)
        come, seen = comm.shared_zeros((ranks,), np.int64), []
        wait = Call(wait_for_ranks, (count, target, ranks), "")
        calls = [Call(_add, (come[comm.rank :], 1, 1), ""), wait, Call(lambda: seen.append(come.copy()), (), ""), wait]
        assert Tape(calls).run(20) == 0
        return seen

    for seen in run_ranks(ranks, work):
        assert [come.tolist() for come in seen] == [[n] * ranks for n in range(1, 21)]


def test_calls_for_parts_of_arrays_become_a_loop(compile_after):
    """Some parts of equal length and one that is shorter; between two of them a call that is in no loop."""
    data, totals, seen = np.arange(44.0), np.zeros(11), np.zeros(1)
    parts = [slice(first, min(first + 4, 42)) for first in range(0, 42, 4)]
    calls = []
    for number, part in enumerate(parts):
        calls += [
            Call(_double, (data[part],), "", "first"),
            Call(_sum_up, (totals[number : number + 1], data[part]), "", "second"),
        ]
        if number == 5:
            calls.append(Call(_add, (seen, 1.0, 1.0), "", "third"))
    whole = Tape(calls)
    assert whole.run(2) == 0
    assert data.tolist() == [4.0 * n for n in range(42)] + [42, 43] and seen.tolist() == [2]
    expected = [sum(2.0 * n + 4.0 * n for n in range(part.start, part.stop)) for part in parts]
    np.testing.assert_array_equal(totals, expected)
    assert all(seconds > 0 for seconds in whole.seconds.values()) and list(whole.seconds) == [
        "first",
        "second",
        "third",
    ]


def test_ranks_whose_tapes_differ_by_a_few_calls_compile_them_at_the_same_step():
    total = np.zeros(1)
    tapes = [Tape([Call(_add, (total, 1.0, 1.0), "")] * calls) for calls in (35, 38)]

    def runs(each: Tape) -> int:
        count = 0
        while not each.is_compiled:
            each.run()
            count += 1
        return count

    few, more = map(runs, tapes)
    assert few == more
    assert tape.COMPILE_AFTER / 2 <= 35 * few <= 38 * more <= tape.COMPILE_AFTER


def test_loops_are_found_where_arrays_move_evenly_and_all_else_is_alike():
    data, other, numbers = np.zeros(100), np.zeros(100), np.zeros(4)

    def rounds(*calls):
        return [(len(some.calls), some.times) for some in tape._rounds([Call(*call, "") for call in calls])]

    even = [(_add, (data[4 * n : 4 * n + 4], Cell(numbers), 1.0)) for n in range(5)]
    assert rounds(*even) == [(1, 5)]
    assert rounds(*even[:2]) == [(1, 1)] * 2
    assert rounds(*even[:3], *even[4:]) == [(1, 3), (1, 1)]
    assert rounds(*even[:3], (_add, (data[12:15], Cell(numbers), 1.0))) == [(1, 3), (1, 1)]
    assert rounds(*even[:3], (_add, (data[12:16], Cell(numbers, 1), 1.0))) == [(1, 3), (1, 1)]
    assert rounds(*even[:3], (_add, (data[12:16], Cell(numbers), 2.0))) == [(1, 3), (1, 1)]
    assert rounds(*even[:3], (_sum_up, (data[12:16], data))) == [(1, 3), (1, 1)]
    two = [call for n in range(4) for call in (even[n], (_sum_up, (other[n : n + 1], data[:3])))]
    assert rounds(*two, even[4]) == [(2, 4), (1, 1)]
    assert rounds(*[(_count_down, (numbers[:1],))] * 4) == [(1, 1)] * 4
