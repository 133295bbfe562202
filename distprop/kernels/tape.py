"""A tape: a list of kernel calls with bound arguments, written as one straight-line function of machine code.

What changes from step to step lies in arrays, so the arguments are constants of that function. It is made in a tenth of
a second: the kernels themselves are compiled already and are only called. The loop over steps is in it too. A tape that
is run a few times only isn't worth even that; its calls are made one by one.
Functions that are no kernels, such as collectives, may stand between the calls, and so may calls that are made only on
a condition; then the tape is several functions, and Python runs from one to the next.
"""

import ctypes
import functools
import itertools
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.callconv import RETCODE_NONE, RETCODE_OK
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

from distprop.kernels.barrier import WAITING

Array: TypeAlias = npt.NDArray[Any]

COMPILE_AFTER = 5_000  # calls: what they cost more in Python is about what compiling costs
FAILED = -2  # an exception inside a kernel: a defect
LONGEST_ROUND, WORTH_A_LOOP = 5, 3  # calls; times

_INT = ir.IntType(64)
_numbers = itertools.count()


class Cell(NamedTuple):
    """An argument that is read when the call is made: array[place]."""

    array: Array
    place: int = 0


@dataclass(frozen=True)
class Call:
    """A kernel with its arguments; `text` says the same for a reader, `phase` what its time counts as.

    A kernel that returns an integer ends the tape there unless it is 0: what has happened is for the caller to know.
    """

    kernel: Callable[..., Any]
    arguments: tuple[Any, ...]
    text: str
    phase: str = "forward"

    def __str__(self) -> str:
        return self.text

    def __call__(self) -> int:
        """Make the call; what the kernel returned, or 0 if that is no integer."""
        if self.reads_cells:
            code = self.kernel(*(a.array[a.place] if isinstance(a, Cell) else a for a in self.arguments))
        else:
            code = self.kernel(*self.arguments)
        return code if isinstance(code, int) else 0

    @functools.cached_property
    def reads_cells(self) -> bool:
        return any(isinstance(argument, Cell) for argument in self.arguments)

    @property
    def is_compiled(self) -> bool:
        return isinstance(self.kernel, numba.core.dispatcher.Dispatcher)


@dataclass(frozen=True)
class Conditional:
    """Calls that are made if `is_due()` says so when the tape has come there. They may stand at several places."""

    is_due: Callable[[], bool]
    calls: tuple[Call, ...]


Item: TypeAlias = Call | Conditional
Record: TypeAlias = Callable[[Call, int, int], None]  # takes a call and when it began and ended, in nanoseconds


class Tape:
    """Calls to be made again and again: at first one by one, then as machine code."""

    def __init__(self, items: Iterable[Item], phases: Sequence[str] = ()) -> None:
        self._items = tuple(items)
        self.calls = tuple(call for item in self._items for call in _calls_of(item))
        self.phases = tuple(phases) or tuple(dict.fromkeys(call.phase for call in self.calls))
        self.nanoseconds = np.zeros(len(self.phases), np.int64)  # by phase, since the beginning
        # Ranks' tapes differ by a few calls; rounded, they are compiled at the same step and not while others wait.
        self._left = -(-COMPILE_AFTER // (1 << len(self.calls).bit_length()))  # runs
        self._parts = self._split(self._interpreted())

    def run(self, times: int = 1, waiting: Callable[[], None] = lambda: None, record: Record | None = None) -> int:
        """Make all calls, `times` over. Returns 0, or what the kernel returned that ended it.

        A kernel that returns WAITING is called again after `waiting()`, which may raise. With `record`, which is told
        of each call, calls are made one by one.
        """
        if record:
            return _run(self._split(self._interpreted(record)), times, waiting)
        first = min(times, max(self._left, 0))
        self._left -= first
        if code := _run(self._parts, first, waiting):
            return code
        if times > first and self._left == 0:
            self._left = -1
            self._parts = self._split(self._native())
        return _run(self._parts, times - first, waiting)

    def _split(self, make: "_Make") -> "list[_Part]":
        """What is run one behind the other. make: the parts of calls that have no condition between them."""
        parts: list[_Part] = []
        for is_conditional, group in itertools.groupby(self._items, lambda item: isinstance(item, Conditional)):
            if is_conditional:
                parts += [_Choice(item.is_due, make(item.calls)) for item in group if isinstance(item, Conditional)]
            else:
                parts += make([item for item in group if isinstance(item, Call)])
        return parts

    def _interpreted(self, record: Record | None = None) -> "_Make":
        return lambda calls: [_Interpreted(calls, self.phases, self.nanoseconds, record)]

    def _native(self) -> "_Make":
        made: dict[tuple[int, ...], _Native] = {}  # the same calls are compiled once

        def make(calls: Sequence[Call]) -> list[_Part]:
            parts: list[_Part] = []
            for is_compiled, group in itertools.groupby(calls, lambda call: call.is_compiled):
                some = tuple(group)
                if is_compiled:
                    key = tuple(map(id, some))
                    made[key] = made.get(key) or _Native(some, self.phases, self.nanoseconds)
                    parts.append(made[key])
                else:
                    parts.append(_Interpreted(some, self.phases, self.nanoseconds))
            return parts

        return make

    @property
    def is_compiled(self) -> bool:
        return self._left < 0

    @property
    def seconds(self) -> dict[str, float]:
        """By phase, since the beginning."""
        return {phase: count * 1e-9 for phase, count in zip(self.phases, self.nanoseconds.tolist(), strict=True)}


def _calls_of(item: Item) -> tuple[Call, ...]:
    return item.calls if isinstance(item, Conditional) else (item,)


class _Part(Protocol):
    def run(self, times: int, waiting: Callable[[], None]) -> int: ...


_Make: TypeAlias = Callable[[Sequence[Call]], list[_Part]]


def _run(parts: Sequence[_Part], times: int, waiting: Callable[[], None]) -> int:
    """All parts, `times` over."""
    if len(parts) == 1:
        return parts[0].run(times, waiting)
    for _ in range(times):
        for part in parts:
            if code := part.run(1, waiting):
                return code
    return 0


class _Choice:
    """Parts that are run if they are due."""

    def __init__(self, is_due: Callable[[], bool], parts: Sequence[_Part]) -> None:
        self._is_due, self._parts = is_due, parts

    def run(self, times: int, waiting: Callable[[], None]) -> int:
        for _ in range(times):
            if self._is_due() and (code := _run(self._parts, 1, waiting)):
                return code
        return 0


class _Interpreted:
    def __init__(
        self, calls: Sequence[Call], phases: Sequence[str], nanoseconds: Array, record: Record | None = None
    ) -> None:
        self._record = record
        self._calls = [(call, phases.index(call.phase)) for call in calls]
        self._nanoseconds = nanoseconds

    def run(self, times: int, waiting: Callable[[], None]) -> int:
        for _ in range(times):
            for call, phase in self._calls:
                begin = time.perf_counter_ns()
                while (code := call()) == WAITING:
                    waiting()
                end = time.perf_counter_ns()
                self._nanoseconds[phase] += end - begin
                if self._record:
                    self._record(call, begin, end)
                if code:
                    return code
        return 0


class _Round(NamedTuple):
    """Calls that are made `times` over; each time every array lies so many bytes further on than the time before.

    strides: for each call, of each of its arguments.
    """

    calls: Sequence[Call]
    times: int
    strides: tuple[tuple[int, ...], ...]


def _rounds(calls: Sequence[Call]) -> list[_Round]:
    """The same calls in the same order. Those for equal parts of arrays, part behind part, become one round."""
    rounds: list[_Round] = []
    first = 0
    while first < len(calls):
        found = (_round_at(calls, first, length) for length in range(1, LONGEST_ROUND + 1))
        alone = _Round(calls[first : first + 1], 1, ())
        rounds.append(next((some for some in found if some.times >= WORTH_A_LOOP and not _may_end(some)), alone))
        first += len(rounds[-1].calls) * rounds[-1].times
    return rounds


def _may_end(some: _Round) -> bool:
    """Whether a call may end the tape."""
    return any(_compiled(call).fndesc.restype != types.none for call in some.calls)


def _round_at(calls: Sequence[Call], first: int, length: int) -> _Round:
    """The calls from the first on, so many, as often as they are repeated."""
    strides: tuple[tuple[int, ...], ...] = ()
    times = 0
    while True:
        here, after = (calls[first + n * length : first + (n + 1) * length] for n in (times, times + 1))
        times += 1
        if len(after) < length:
            break
        found = [_strides(*pair) for pair in zip(here, after, strict=True)]
        known = tuple(stride for stride in found if stride is not None)
        if len(known) < length or strides not in ((), known):
            break
        strides = known
    return _Round(calls[first : first + length], times, strides)


def _strides(call: Call, after: Call) -> tuple[int, ...] | None:
    """By how many bytes each argument of the second call lies behind that of the first; None if they differ in more."""
    if (call.kernel, call.phase) != (after.kernel, after.phase):
        return None
    strides = [_stride(*pair) for pair in zip(call.arguments, after.arguments, strict=True)]
    known = tuple(stride for stride in strides if stride is not None)
    return known if len(known) == len(strides) else None


def _stride(argument: Any, after: Any) -> int | None:
    if isinstance(argument, np.ndarray) and isinstance(after, np.ndarray):
        is_alike = all(getattr(argument, name) == getattr(after, name) for name in ("dtype", "shape", "strides"))
        return after.ctypes.data - argument.ctypes.data if is_alike else None
    if isinstance(argument, Cell) and isinstance(after, Cell):
        return 0 if argument.array is after.array and argument.place == after.place else None
    return 0 if type(argument) is type(after) and argument == after else None


class _Native:
    """Calls of compiled kernels as one function: int64 run(int64 *state), state = [first round, times]."""

    def __init__(self, calls: Sequence[Call], phases: Sequence[str], nanoseconds: Array) -> None:
        self._state = np.zeros(2, np.int64)
        self._kept = (calls, nanoseconds)  # their addresses are in the code
        phase_numbers = [phases.index(call.phase) for call in calls]
        with global_compiler_lock:
            self._library, address = _emit(calls, phase_numbers, nanoseconds, self._state)
        self._function = ctypes.CFUNCTYPE(ctypes.c_int64)(address)

    def run(self, times: int, waiting: Callable[[], None]) -> int:
        self._state[:] = 0, times
        if times:
            while (code := self._function()) == WAITING:
                waiting()
            return int(code)
        return 0


def _emit(calls: Sequence[Call], phases: Sequence[int], nanoseconds: Array, state: Array) -> tuple[Any, int]:
    """The library that holds the function, and the function's address."""
    name = f"distprop_tape_{next(_numbers)}"
    library = cpu_target.target_context.codegen().create_library(name)
    module = library.create_ir_module(name)
    _Writer(module, name, nanoseconds, state).write(calls, phases)
    library.add_ir_module(module)
    library.finalize()
    return library, library.get_pointer_to_function(name)


class _Writer:
    """Writes the function: a loop over the steps, around the rounds of calls, which can be entered at any of them."""

    def __init__(self, module: ir.Module, name: str, nanoseconds: Array, state: Array) -> None:
        self._function = ir.Function(module, ir.FunctionType(_INT, []), name)
        self._builder = ir.IRBuilder(self._function.append_basic_block("entry"))
        self._context = cpu_target.target_context
        self._nanoseconds = nanoseconds
        self._state = [self._address(state[i : i + 1], _INT) for i in range(2)]
        self._clock = _Clock(self._builder)
        self._places: dict[ir.Type, ir.Value] = {}

    def write(self, calls: Sequence[Call], phases: Sequence[int]) -> None:
        builder, function = self._builder, self._function
        rounds = _rounds(calls)
        blocks = [function.append_basic_block(f"round_{number}") for number in range(len(rounds))]
        end = function.append_basic_block("end")
        begin = self._clock.now()
        last = cgutils.alloca_once_value(builder, begin)
        entry = builder.switch(builder.load(self._state[0]), blocks[0])
        for number, block in enumerate(blocks[1:], start=1):
            entry.add_case(_INT(number), block)
        first = 0
        for number, some in enumerate(rounds):
            builder.position_at_end(blocks[number])
            after = first + len(some.calls) * some.times
            if some.times == 1:
                code = self._call(some.calls[0])
                if code is not None:
                    self._return_if_not_zero(code, number, phases[first], last)
            else:
                self._loop(some, phases[first:after], last)
            if after == len(calls) or phases[after] != phases[after - 1]:
                self._account(phases[after - 1], last)
            builder.branch(blocks[number + 1] if number + 1 < len(rounds) else end)
            first = after
        builder.position_at_end(end)
        left = builder.sub(builder.load(self._state[1]), _INT(1))
        builder.store(left, self._state[1])
        builder.store(_INT(0), self._state[0])
        done = function.append_basic_block("done")
        builder.cbranch(builder.icmp_signed(">", left, _INT(0)), blocks[0], done)
        builder.position_at_end(done)
        builder.ret(_INT(0))

    def _loop(self, some: _Round, phases: Sequence[int], last: ir.Value) -> None:
        with cgutils.for_range(self._builder, _INT(some.times)) as loop:
            for number, (call, strides) in enumerate(zip(some.calls, some.strides, strict=True)):
                self._call(call, loop.index, strides)
                if phases[number + 1] != phases[number]:
                    self._account(phases[number], last)

    def _return_if_not_zero(self, code: ir.Value, number: int, phase: int, last: ir.Value) -> None:
        builder = self._builder
        with builder.if_then(builder.icmp_signed("!=", code, _INT(0)), likely=False):
            self._account(phase, last)
            builder.store(_INT(number), self._state[0])
            builder.ret(code)

    def _account(self, phase: int, last: ir.Value) -> None:
        """nanoseconds[phase] += now - last;  last = now."""
        builder, now = self._builder, self._clock.now()
        place = self._address(self._nanoseconds[phase : phase + 1], _INT)
        spent = builder.sub(now, builder.load(last))
        builder.store(builder.add(builder.load(place), spent), place)
        builder.store(now, last)

    def _call(self, call: Call, index: ir.Value | None = None, strides: Sequence[int] = ()) -> ir.Value | None:
        """The call, with its arrays index * strides bytes further on; what it returned, if that is an integer.

        Numba's helpers would take five times as many instructions, which LLVM then removes; it is all constants.
        """
        builder, compiled = self._builder, _compiled(call)
        description, convention = compiled.fndesc, self._context.call_conv
        address = compiled.library.get_pointer_to_function(description.llvm_func_name)
        kind = convention.get_function_type(description.restype, description.argtypes)
        result, problem, *expected = kind.args
        offsets = [builder.mul(index, _INT(stride)) for stride in strides] or [None] * len(call.arguments)
        given = [value for pair in zip(call.arguments, offsets, strict=True) for value in self._values(*pair)]
        values = [self._as(value, wanted) for value, wanted in zip(given, expected, strict=True)]
        places = [self._place(of_one.pointee) for of_one in (result, problem)]
        code = builder.call(builder.inttoptr(_INT(address), kind.as_pointer()), [*places, *values])
        is_other = [builder.icmp_signed("!=", code, known) for known in (RETCODE_OK, RETCODE_NONE)]
        with builder.if_then(builder.and_(*is_other), likely=False):
            builder.ret(_INT(FAILED))
        return builder.load(places[0]) if isinstance(description.restype, types.Integer) else None

    def _values(self, argument: Any, offset: ir.Value | None) -> list[Any]:
        """As Numba passes an argument: a number, or the fields of an array one by one."""
        if not isinstance(argument, np.ndarray):
            return [argument]
        address = argument.ctypes.data
        data = address if offset is None else self._builder.add(_INT(address), offset)
        owner, parent = 0, 0
        return [owner, parent, argument.size, argument.itemsize, data, *argument.shape, *argument.strides]

    def _as(self, value: Any, wanted: ir.Type) -> ir.Value:
        """The value as an argument of this type."""
        if isinstance(value, Cell):
            return self._builder.load(self._address(value.array[value.place :], wanted))
        if isinstance(wanted, ir.PointerType):
            return _INT(value).inttoptr(wanted) if isinstance(value, int) else self._builder.inttoptr(value, wanted)
        return wanted(value)

    def _place(self, kind: ir.Type) -> ir.Value:
        """Memory for what a call returns besides its code; all calls can use the same."""
        if kind not in self._places:
            self._places[kind] = cgutils.alloca_once(self._builder, kind)
        return self._places[kind]

    def _address(self, array: Array, element: ir.Type) -> ir.Value:
        return _INT(array.ctypes.data).inttoptr(element.as_pointer())


def _compiled(call: Call) -> Any:
    """The kernel's code for the types of these arguments."""
    kinds = tuple(_kind(argument) for argument in call.arguments)
    kernel: Any = call.kernel
    kernel.compile(kinds)
    return kernel.overloads[kinds]


def _kind(argument: Any) -> Any:
    if isinstance(argument, Cell):
        return numba.from_dtype(argument.array.dtype)
    return numba.typeof(argument)


class _Clock:
    """The time of CLOCK_MONOTONIC, that of time.perf_counter_ns, in nanoseconds."""

    def __init__(self, builder: ir.IRBuilder) -> None:
        self._builder = builder
        pair = ir.ArrayType(_INT, 2)
        self._spec = cgutils.alloca_once(builder, pair)
        address = ctypes.cast(ctypes.CDLL(None).clock_gettime, ctypes.c_void_p).value
        kind = ir.FunctionType(ir.IntType(32), [ir.IntType(32), pair.as_pointer()])
        self._function = builder.inttoptr(_INT(address), kind.as_pointer())

    def now(self) -> ir.Value:
        builder = self._builder
        builder.call(self._function, [ir.IntType(32)(time.CLOCK_MONOTONIC), self._spec])
        seconds, rest = (builder.load(builder.gep(self._spec, [_INT(0), _INT(i)])) for i in range(2))
        return builder.add(builder.mul(seconds, _INT(1_000_000_000)), rest)
