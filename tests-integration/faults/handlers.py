"""What a job of these tests does: its payload says so, and the journal tells that it was done."""

import asyncio
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from journal import Journal
from watching import Fate

from mindtrace.jobs import Consumer, Job, JobDict, Orchestrator

PATIENCE = 60.0
CHILD_LIVES = 30.0


class Doer(Consumer):
    """Runs what the payload names in `do`, between the lines `begin` and `effect`.

    With `once` in the payload only the first delivery does it.
    """

    def __init__(self, journal: Journal, fate: Fate, orchestrator: Orchestrator) -> None:
        super().__init__()
        self.journal = journal
        self.fate = fate
        self.jobs = orchestrator

    def run(self, job_dict: JobDict) -> dict[str, Any]:
        """Do it in this thread."""
        self._begin(job_dict)
        if job_dict["delivery"] == 1 or not job_dict["payload"].get("once"):
            ACTIONS[job_dict["payload"]["do"]](self, job_dict)
        return self._effect(job_dict)

    def _begin(self, job: JobDict) -> None:
        self.journal.write("begin", job["id"], job["delivery"], lost=job["lost"])
        self.fate.meet("handler")
        if job["attempts"] < job["payload"].get("fail", 0):
            self.journal.write("failed", job["id"], job["delivery"])
            raise ValueError("this attempt was meant to fail")

    def _effect(self, job: JobDict) -> dict[str, Any]:
        self.journal.write("effect", job["id"], job["delivery"])
        return {"delivery": job["delivery"]}


class AsyncDoer(Doer):
    """Does it on the event loop; `block` blocks the loop, on purpose."""

    async def run(self, job_dict: JobDict) -> dict[str, Any]:  # type: ignore[override] # pyright: ignore[reportIncompatibleMethodOverride]
        """Do it on the event loop."""
        self._begin(job_dict)
        payload = job_dict["payload"]
        match payload["do"]:
            case "work":
                await asyncio.sleep(payload["seconds"])
            case "gate":
                # a file is all that another process has to open it with
                while not Path(payload["gate"]).exists():  # noqa: ASYNC110, ASYNC240
                    await asyncio.sleep(0.005)
            case do:
                ACTIONS[do](self, job_dict)
        return self._effect(job_dict)


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)


def _work(_: Doer, job: JobDict) -> None:
    _pause(job["payload"]["seconds"])


def _wait_at_gate(_: Doer, job: JobDict) -> None:
    gate, deadline = Path(job["payload"]["gate"]), time.monotonic() + PATIENCE
    while not gate.exists():
        assert time.monotonic() < deadline, "the gate was never opened"
        _pause(0.005)


def _die(_: Doer, job: JobDict) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _signal_self(doer: Doer, job: JobDict) -> None:
    for _ in range(job["payload"]["times"]):
        os.kill(os.getpid(), signal.SIGTERM)
        while not doer.journal.lines("woken", os.getpid()):  # two that come together count as one
            _pause(0.001)
        _pause(0.003)
    if "gate" in job["payload"]:
        _wait_at_gate(doer, job)


def _tell_signal_handlers(doer: Doer, job: JobDict) -> None:
    found = [signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGINT)]
    untouched = found == [signal.SIG_DFL, signal.default_int_handler]
    doer.journal.write("handlers", job["id"], untouched=untouched)


def _hold_interpreter(doer: Doer, job: JobDict) -> None:
    """Add big integers in one C call: no bytecode runs, so the lock is not given away."""
    seconds: float = job["payload"]["seconds"]
    count, took = 1_000_000, 0.0
    while took < 0.5:
        count *= 2
        began = time.thread_time()  # what others of the machine take is not ours
        sum(range(count), 1 << 200)
        took = time.thread_time() - began
    count = int(count * seconds / took)
    longest = _LongestGap()
    sum(range(count), 1 << 200)
    doer.journal.write("held", job["id"], seconds=longest.stop())


class _LongestGap:
    """Measures, in another thread, how long that thread could not run at a stretch."""

    def __init__(self) -> None:
        self._stopped = threading.Event()
        self._ticking = threading.Event()
        self._longest = 0.0
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        self._ticking.wait()

    def stop(self) -> float:
        """Return the longest stretch in seconds."""
        self._stopped.set()
        self._thread.join()
        return self._longest

    def _run(self) -> None:
        last = time.monotonic()
        while not self._stopped.wait(0.01):
            self._ticking.set()
            now = time.monotonic()
            self._longest = max(self._longest, now - last)
            last = now
        self._longest = max(self._longest, time.monotonic() - last)


def _block(doer: Doer, job: JobDict) -> None:
    began = time.monotonic()
    _pause(job["payload"]["seconds"])
    doer.journal.write("held", job["id"], seconds=time.monotonic() - began)


def _compute(doer: Doer, job: JobDict) -> None:
    """Keep the processor busy in Python, which gives the interpreter's lock away now and then."""
    began = time.monotonic()
    while time.monotonic() - began < job["payload"]["seconds"]:
        sum(range(1000))
    doer.journal.write("held", job["id"], seconds=time.monotonic() - began)


def _leave_child(doer: Doer, job: JobDict) -> None:
    """Start a child that outlives this process, then wait to be killed."""
    match job["payload"]["how"]:
        case "os.fork":
            child = os.fork()
            if child == 0:
                _pause(CHILD_LIVES)
                os._exit(0)
        case "multiprocessing":
            process = multiprocessing.get_context("fork").Process(
                target=_pause, args=(CHILD_LIVES,)
            )
            process.start()
            child = process.pid
        case _:
            command = [sys.executable, "-c", f"import time; time.sleep({CHILD_LIVES})"]
            child = subprocess.Popen(command, close_fds=False).pid
    doer.journal.write("child", job["id"], job["delivery"], pid=child)
    _wait_at_gate(doer, job)


def _let_child_end(doer: Doer, job: JobDict) -> None:
    """Run a child that touches what it inherited and ends, each way a child can end."""
    if job["payload"]["how"] == "takes as its parent did":
        assert doer.jobs.receive_message("other") is None
    child = os.fork()
    if child == 0:
        _child_ends(doer, job)
    doer.journal.write("child", job["id"], job["delivery"], pid=child)
    _, status = os.waitpid(child, 0)
    doer.journal.write("child ended", job["id"], code=os.waitstatus_to_exitcode(status))
    _wait_at_gate(doer, job)


def _child_ends(doer: Doer, job: JobDict) -> None:
    match job["payload"]["how"]:
        case "exits":
            os._exit(0)
        case "closes":
            doer.jobs.close()
            os._exit(0)
        case "closes all files":
            os.closerange(3, 256)
            os._exit(0)
        case "publishes":
            doer.jobs.publish("other", Job(name="other", payload={"from": "the child"}))
            os._exit(0)
        case "takes" | "takes as its parent did":
            taken = doer.jobs.receive_message("other", block=True, timeout=5)
            os._exit(0 if taken is not None else 1)
        case _:
            sys.exit(0)  # passes through the engine on its way out


ACTIONS: dict[str, Callable[[Doer, JobDict], None]] = {
    "work": _work,
    "gate": _wait_at_gate,
    "die": _die,
    "signal": _signal_self,
    "signal handlers": _tell_signal_handlers,
    "hold interpreter": _hold_interpreter,
    "block": _block,
    "compute": _compute,
    "leave child": _leave_child,
    "let child end": _let_child_end,
}
