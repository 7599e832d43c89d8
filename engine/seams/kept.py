"""What a part may change of its process is put back after every call: a part that sets torch's
default type, the working directory or a signal handler harms its own lineage only.

Not what only a process of its own could hold: memory that is not freed, threads that go on.
"""

from __future__ import annotations

import contextlib
import copy
import ctypes
import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Never

import numpy as np

NAMES = ("INT", "TERM", "HUP", "QUIT", "ALRM", "CHLD", "PIPE", "USR1", "USR2")
SIGNALS = tuple(getattr(signal, f"SIG{name}") for name in NAMES)
STREAM = "global stream"
RANDOM, NUMPY = f"random's {STREAM}", f"numpy's {STREAM}"
WORDS = 624  # of the state of a Mersenne twister
TORCH_SEED = 67280421310721  # of a process in which nobody has set one
# what it is called, how it is read, how it is put back
Setting = tuple[str, Callable[[], Any], Callable[[Any], object]]


class LeftByExit(SystemExit):
    """A part called os._exit, which would have ended the lineages of others."""

    def __str__(self) -> str:
        return f"a part called os._exit({self.code}); let it raise an error instead"


# ---- of Python -----------------------------------------------------------------------------------


def _environment() -> dict[bytes, bytes]:
    """A copy without decoding it: of a hundred variables that takes longer than all else here."""
    found: dict[bytes, bytes] = vars(os.environ)["_data"].copy()
    return found


def _set_environment(before: dict[bytes, bytes]) -> None:
    for name in set(os.environb) - before.keys():
        del os.environb[name]
    for name, value in before.items():
        if os.environb.get(name) != value:
            os.environb[name] = value


def _here() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # somebody has removed it
        return ""


def _go_back(folder: str) -> None:
    with contextlib.suppress(OSError):
        os.chdir(folder)


def _handlers() -> dict[int, Any]:
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in SIGNALS}


def _set_handlers(before: dict[int, Any]) -> None:
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def _set_alarm(before: bool) -> None:
    if not before:
        signal.alarm(0)


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def _global_stream() -> bytes:
    """The words of numpy's global stream, and the place in them; its own way takes 0.1 ms."""
    source = np.random.mtrand._rand._bit_generator  # the one that parts may draw from
    if not isinstance(source, np.random.MT19937):
        return b""
    return ctypes.string_at(source.ctypes.state_address, 4 * (WORDS + 1))


def _set_global_stream(before: bytes) -> None:
    if before:
        *words, place = np.frombuffer(before, np.uint32).tolist()
        state = ("MT19937", np.array(words, np.uint32), place, 0, 0.0)
        np.random.set_state(state)  # noqa: NPY002


def _streams() -> tuple[Any, ...]:
    return sys.stdin, sys.stdout, sys.stderr, sys.excepthook, warnings.showwarning


def _set_streams(before: tuple[Any, ...]) -> None:
    sys.stdin, sys.stdout, sys.stderr, sys.excepthook, showwarning = before
    warnings.showwarning = showwarning


def _log() -> tuple[Any, ...]:
    root = logging.getLogger()
    return root.level, logging.root.manager.disable, tuple(root.handlers)


def _set_log(before: tuple[Any, ...]) -> None:
    root = logging.getLogger()
    root.setLevel(before[0])
    logging.disable(before[1])
    root.handlers[:] = before[2]


def _set_locale(before: str) -> None:
    with contextlib.suppress(locale.Error):
        locale.setlocale(locale.LC_ALL, before)


def _set_filters(before: list[Any]) -> None:
    warnings.filters[:] = before  # type: ignore[index]  # the stubs promise a sequence
    vars(warnings)["_filters_mutated"]()


PYTHON: tuple[Setting, ...] = (
    ("os.environ", _environment, _set_environment),
    ("the working directory", _here, _go_back),
    ("handlers of signals", _handlers, _set_handlers),
    ("an alarm", lambda: signal.getitimer(signal.ITIMER_REAL)[0] > 0, _set_alarm),
    ("the umask", _umask, os.umask),
    (RANDOM, random.getstate, random.setstate),
    (NUMPY, _global_stream, _set_global_stream),
    ("np.seterr", np.geterr, lambda before: np.seterr(**before)),
    ("np.printoptions", np.get_printoptions, lambda before: np.set_printoptions(**before)),
    ("sys.stdout or its like", _streams, _set_streams),
    ("the root of logging", _log, _set_log),
    ("filters of warnings", lambda: list(warnings.filters), _set_filters),
    ("the locale", lambda: locale.setlocale(locale.LC_ALL), _set_locale),
    ("the limit of recursion", sys.getrecursionlimit, sys.setrecursionlimit),
    ("the switch interval", sys.getswitchinterval, sys.setswitchinterval),
    ("the timeout of sockets", socket.getdefaulttimeout, socket.setdefaulttimeout),
    ("gc", gc.isenabled, lambda before: gc.enable() if before else gc.disable()),
)


# ---- of torch, and of pools of threads -----------------------------------------------------------


@lru_cache(maxsize=1)
def _of_torch() -> tuple[Setting, ...]:
    import torch

    cudnn, shown = torch.backends.cudnn, vars(torch)["_tensor_str"].PRINT_OPTS

    def device() -> str:
        return str(torch.get_default_device())

    def deterministic() -> tuple[bool, bool]:
        warns = torch.is_deterministic_algorithms_warn_only_enabled()
        return torch.are_deterministic_algorithms_enabled(), warns

    def set_deterministic(before: tuple[bool, bool]) -> None:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])

    def stream() -> bytes:
        return bytes(torch.get_rng_state().numpy().tobytes())

    def set_stream(before: bytes) -> None:
        torch.set_rng_state(torch.frombuffer(bytearray(before), dtype=torch.uint8))

    return (
        # first, for what follows makes tensors; the device a process begins with is nobody's choice
        ("device", device, lambda b: torch.set_default_device(None if b == "cpu" else b)),
        ("default type", torch.get_default_dtype, torch.set_default_dtype),
        ("gradients", torch.is_grad_enabled, torch.set_grad_enabled),
        ("determinism", deterministic, set_deterministic),
        ("threads", torch.get_num_threads, torch.set_num_threads),
        ("anomalies", torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
        ("benchmark", lambda: cudnn.benchmark, lambda b: setattr(cudnn, "benchmark", b)),
        ("cudnn", lambda: cudnn.deterministic, lambda b: setattr(cudnn, "deterministic", b)),
        ("print options", lambda: copy.copy(vars(shown)), lambda b: vars(shown).update(b)),
        (STREAM, stream, set_stream),
    )


def _fresh_torch() -> tuple[Any, ...]:
    """The values of `_of_torch` in a process that has just imported it."""
    import torch

    threads = int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads())
    shown = {"precision": 4, "threshold": 1000, "edgeitems": 3, "linewidth": 80, "sci_mode": None}
    before = torch.get_rng_state()
    torch.manual_seed(TORCH_SEED)
    stream = bytes(torch.get_rng_state().numpy().tobytes())
    torch.set_rng_state(before)
    off = (False, False, False)  # anomalies, benchmark, cudnn
    return ("cpu", torch.float32, True, (False, False), threads, *off, shown, stream)


@lru_cache(maxsize=4)
def _pools(libraries: tuple[bool, ...]) -> tuple[Any, ...]:
    """The pools of threads of the libraries that are loaded; asked again when there are more."""
    from threadpoolctl import ThreadpoolController

    return tuple(ThreadpoolController().lib_controllers)


def _threads() -> tuple[tuple[Any, int], ...]:
    loaded = tuple(name in sys.modules for name in ("torch", "scipy.linalg", "sklearn"))
    return tuple((pool, pool.num_threads) for pool in _pools(loaded))


def _put_threads(before: tuple[tuple[Any, int], ...]) -> None:
    for pool, n in before:
        if pool.num_threads != n:
            pool.set_num_threads(n)


# ---- the context ---------------------------------------------------------------------------------


_open: list[set[str]] = []  # the context that is open: what was put back after it


@contextlib.contextmanager
def kept() -> Iterator[set[str]]:
    """Inside, a part may do to the process what it likes; outside, it is as before.

    Yields a set, which then holds the names of what was put back.  os._exit raises LeftByExit
    instead, and a process that the part has forked ends here.  Inside another one it does nothing.
    """
    if _open:
        yield _open[-1]
        return
    process, leave, found = os.getpid(), vars(os)["_exit"], set[str]()
    python = [read() for _, read, _ in PYTHON]
    torch = [read() for _, read, _ in _of_torch()] if "torch" in sys.modules else None
    threads = _threads()
    vars(os)["_exit"] = _left(process, threading.get_ident(), leave)
    _open.append(found)
    try:
        yield found
    finally:
        _open.clear()
        vars(os)["_exit"] = leave
        if os.getpid() != process:
            leave(0)
        _put_back(PYTHON, python, "", found)
        if "torch" in sys.modules:
            _put_back(_of_torch(), torch or _fresh_torch(), "torch's ", found)
        _put_threads(threads)


def _put_back(settings: Sequence[Setting], before: Sequence[Any], of: str, found: set[str]) -> None:
    for (name, read, put), value in zip(settings, before, strict=True):
        if read() != value:
            put(value)
            found.add(of + name)


def _left(process: int, thread: int, leave: Callable[[int], Never]) -> Callable[[int], Never]:
    """os._exit for a part; whoever else calls it, a thread of ours or a fork, does leave."""

    def left(code: int) -> Never:
        if (os.getpid(), threading.get_ident()) == (process, thread):
            raise LeftByExit(code)
        leave(code)

    return left
