"""Between the engine's values and what scripts take and return; nothing here does I/O."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mindtrace.jobs.backend import (
    DeadRecord,
    Delivery,
    Entry,
    Failure,
    JobRecord,
    Settlement,
    StoredJob,
)
from mindtrace.jobs.lifecycle import JobState

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_NO_RANK = 1 << 62
"""The rank of priority 0: ranks rise as priorities fall, and none is negative."""

_LETTER = 13
_STORED = 17


def rank_of(priority: int) -> str:
    """Return the text that orders jobs by priority: of fixed width, higher priority first."""
    return f"{_NO_RANK - priority:016x}"


def _text(facts: dict[str, Any]) -> bytes:
    # a lone surrogate in an error's message must not make the message unreadable for the server
    return json.dumps(facts, ensure_ascii=False).encode("utf-8", "replace")


def entry_args(entries: Sequence[Entry]) -> list[Any]:
    """Return what publish.lua takes for each entry."""
    args: list[Any] = []
    for entry in entries:
        plain = entry[2:] == _PLAIN
        args += (entry.id, entry.body, "" if plain else _facts_of(entry))
    return args


_PLAIN = Entry("", "")[2:]


def quick_script(entries: Sequence[Entry], args: list[Any]) -> str | None:
    """Return the quickest script that may do for entries and their args, if any may."""
    if len(entries) == 1 and args[2] == "":
        return "publish_one"
    return "publish" if all(entry.dedup_key is None for entry in entries) else None


def _facts_of(entry: Entry) -> bytes:
    facts: dict[str, Any] = {}
    if entry.priority:
        facts |= {"p": str(entry.priority), "r": rank_of(entry.priority)}
    if entry.delay > 0:
        facts["d"] = entry.delay
    if entry.ttl is not None:
        facts["t"] = entry.ttl
    if entry.keep is not None:
        facts["k"] = entry.keep
    if entry.dedup_key is not None:
        facts |= {"y": entry.dedup_key, "w": entry.dedup_ttl}
    return _text(facts)


def settlement_args(settlements: Sequence[Settlement]) -> list[Any]:
    """Return what settle.lua takes for each settlement."""
    args: list[Any] = []
    for each in settlements:
        delivery, verdict, result, delay, attempts, failure = each
        rest: str | bytes = ""
        if verdict != "ack" or result is not None:
            facts: dict[str, Any] = {"v": verdict, "a": attempts, "d": delay}
            if result is not None:
                facts["r"] = result
            if verdict == "reject":
                facts["f"] = list(failure or Failure("rejected", "Reject", "no reason was given"))
            rest = _text(facts)
        args += (delivery.id, delivery.entry, delivery.delivery, rest)
    return args


def deliveries_of(answer: list[Any], queue: str) -> list[Delivery]:
    """Return the deliveries that receive.lua told: id, body and facts in turn."""
    found: list[Delivery] = []
    for job_id, body, facts in zip(answer[::3], answer[1::3], answer[2::3], strict=True):
        if facts.__class__ is int:
            found.append(Delivery(facts, job_id, body, 1, 0, 0, 0, None, queue))
        else:
            found.append(_delivery(job_id, body, facts, queue))
    return found


def _delivery(job_id: str, body: str, facts: str, queue: str) -> Delivery:
    entry, number, attempts, lost, priority, keep = facts.split(" ")
    return Delivery(
        int(entry),
        job_id,
        body,
        int(number),
        int(attempts),
        int(lost),
        int(priority),
        None if keep == "-" else float(keep),
        queue,
    )


def claims_of(answer: list[Any], queue: str) -> list[Delivery | None]:
    """Return the deliveries that claim.lua told, None where there is none."""
    return [
        deliveries_of(answer[at : at + 3], queue)[0] if answer[at + 2] != "" else None
        for at in range(0, len(answer), 3)
    ]


def _moment(text: Any) -> float | None:
    return None if text == "" else float(text)


def _rows(answer: list[Any], width: int) -> Iterator[list[Any]]:
    return (answer[at : at + width] for at in range(0, len(answer), width))


def letters_of(answer: list[Any], queue: str) -> list[DeadRecord]:
    """Return the dead letters that dead_letters.lua told."""
    found: list[DeadRecord] = []
    for row in _rows(answer, _LETTER):
        job_id, body, entry, number, attempts, lost, priority, keep = row[:8]
        delivery = Delivery(
            entry, job_id, body, number, attempts, lost, int(priority), _moment(keep), queue
        )
        found.append(DeadRecord(delivery, Failure(*row[8:12]), float(row[12])))
    return found


def record_of(answer: list[Any], job_id: str) -> JobRecord | None:
    """Return a record that records.lua told."""
    if not answer:
        return None
    queue, state, attempts, lost, number, progress, result = answer[:7]
    reason = answer[7]
    done = json.loads(progress) if progress else None
    return JobRecord(
        id=job_id,
        queue=queue,
        state=JobState(state),
        attempts=attempts,
        lost=lost,
        delivery=number,
        progress=None if done is None else (done[0], done[1]),
        result=result if answer[11] else None,
        failure=Failure(reason, *answer[8:11]) if state == JobState.DEAD else None,
        reason=reason if state == JobState.CANCELLED else None,
    )


def stored_of(answer: list[Any]) -> list[StoredJob]:
    """Return the jobs that fetch.lua told."""
    found: list[StoredJob] = []
    for row in _rows(answer, _STORED):
        entry, job_id, body, state, priority, published_at, due_at, expires_at, keep = row[:9]
        number, attempts, lost, reason, error_type, message, trace, died_at = row[9:]
        dead = state == JobState.DEAD
        found.append(
            StoredJob(
                entry,
                job_id,
                body,
                JobState(state),
                int(priority),
                float(published_at),
                _moment(due_at) if state == JobState.DELAYED else None,
                _moment(expires_at),
                _moment(keep),
                number,
                attempts,
                lost,
                Failure(reason, error_type, message, trace) if dead else None,
                _moment(died_at),
            )
        )
    return found


def moved_args(jobs: Sequence[StoredJob]) -> list[Any]:
    """Return what bring_in.lua takes for each job."""
    args: list[Any] = []
    for job in jobs:
        facts: dict[str, Any] = {
            "p": str(job.priority),
            "r": rank_of(job.priority),
            "n": job.delivery,
            "a": job.attempts,
            "l": job.lost,
            "u": job.published_at,
        }
        optional = {"e": job.expires_at, "k": job.keep, "x": job.died_at}
        facts |= {name: value for name, value in optional.items() if value is not None}
        if job.state == JobState.DELAYED and job.due_at is not None:
            facts["d"] = job.due_at
        if job.state == JobState.DEAD:
            facts["f"] = list(job.failure or Failure("failed", "", ""))
        args += (job.id, job.body, _text(facts))
    return args
