"""What is measured of clusters, beside the jobs alone where there is something to compare."""

import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from statistics import median
from time import monotonic, monotonic_ns, perf_counter

import psutil

from mindtrace.core.net import get_free_ports
from mindtrace.jobs import job_from_schema
from tools.benchmarks.children import pause, python
from tools.benchmarks.cluster.holding import SCHEMA, Hold
from tools.benchmarks.cluster.scripts import MEASURES as SCRIPTS
from tools.benchmarks.cluster.stage import PATIENCE, Cluster, ClusterStage
from tools.benchmarks.latency import WARM_UP, p99
from tools.benchmarks.report import Bar, Figure, Row, limit, rates
from tools.benchmarks.turns import take_turns
from tools.commands import ROOT

HOLDING = "tools.benchmarks.cluster.holding.HoldingWorker"
AT_ONCE = 1000
"""Jobs in a call, where there are very many."""

TURNS = 3
"""A cluster has one turn where jobs alone have so many: they take longer."""


def quick_start(stage: ClusterStage) -> Iterator[Row]:
    """Run the quick start as a script, beside importing what services are served with."""
    took: list[float] = []
    imports: list[float] = []
    for _ in range(stage.settings.starts):
        with stage.where.opened():
            first = random.randrange(20_000, 29_000)  # noqa: S311 - not a secret
            ports = get_free_ports("localhost", first, 30_000, ports_to_find=3)
            began = perf_counter()
            with python("cluster.quick_start", *map(str, ports)) as script:
                said = script.hear(PATIENCE)
                took.append(perf_counter() - began)
        if said != "completed":
            message = f"the quick start ended with {said!r}"
            raise RuntimeError(message)
        imports.append(_imports())
    yield Row(
        measure=f"quick start, from python to result, slowest of {len(took)}",
        ours=Figure(max(took), "s"),
        who="the imports of a service",
        against=Figure(median(imports), "s"),
        ratio=max(took) / median(imports),
        bar=limit("<=", 8, "s"),
    )


def latency(stage: ClusterStage) -> Iterator[Row]:
    """Submit one job at a time and wait for it, the cluster and jobs alone in turn."""
    mine: list[float] = []
    alone: list[float] = []
    with stage.cluster() as cluster:
        cluster.with_echo()
        jobs = cluster.jobs_alone("report")
        for number in range(stage.settings.samples + WARM_UP):
            mine.append(cluster.one(number) * 1000)
            alone.append(jobs.one(number) * 1000)
    del mine[:WARM_UP], alone[:WARM_UP]
    for name, of, most in (("p50", median, 25), ("p99", p99, None)):
        yield Row(
            measure=f"submit_job -> completed, one at a time, {name}",
            ours=Figure(of(mine), "ms"),
            who="jobs alone",
            against=Figure(of(alone), "ms"),
            ratio=of(mine) / of(alone),
            bar=limit("<=", most, "ms"),
        )


def throughput(stage: ClusterStage) -> Iterator[Row]:
    """Submit many jobs in one call and wait for all, beside jobs alone."""
    count, rounds = stage.settings.count, max(1, stage.settings.rounds // TURNS)
    with stage.cluster() as cluster:
        cluster.with_echo()
        jobs = cluster.jobs_alone("count")
        mine, alone = take_turns((cluster.burst, jobs.burst), lambda burst: burst(count), rounds)
    what = f"submit_jobs of {count:,} -> all completed"
    row = rates(what, count, mine, alone, who="jobs alone", bar=None)
    yield replace(row, bar=Bar(">=", Figure(400, "/s")))


def takeover(stage: ClusterStage) -> Iterator[Row]:
    """Kill a worker in the middle of a job, alone on its node and with an idle one beside it."""
    count, most = stage.settings.takeovers, stage.where.takeover
    with stage.cluster() as cluster:
        for beside, who in ((0, "launched anew by its node"), (1, "beside an idle one")):
            seconds = [_killed(cluster, beside, number) for number in range(count)]
            yield Row(
                measure=f"SIGKILL of a worker {who} -> its job runs again, slowest of {count}",
                ours=Figure(max(seconds), "s"),
                who="the median is",
                against=Figure(median(seconds), "s"),
                bar=Bar("<=", Figure(most, "s")),
            )


def _killed(cluster: Cluster, beside: int, number: int) -> float:
    """Kill a worker that has a job; return the seconds until that runs again."""
    held = Hold(
        begun=cluster.folder / f"begun-{beside}-{number}",
        gate=cluster.folder / f"gate-{beside}-{number}",
    )
    # new ones each time: a node lets one wait that dies again and again
    for _ in range(1 + beside):
        cluster.launch(HOLDING, SCHEMA.name)
    job = job_from_schema(SCHEMA, held)
    cluster.manager.submit_job(job)
    _until_runs(held, 1)
    pause(random.uniform(0.2, 1.2))  # noqa: S311 - not a secret
    killed = monotonic_ns()
    os.kill(held.runs()[0][0], signal.SIGKILL)
    _until_runs(held, 2)
    held.gate.touch()
    cluster.finished(job)
    cluster.node.shutdown_all_workers()
    return (held.runs()[1][1] - killed) / 1e9


def _until_runs(held: Hold, count: int) -> None:
    end = monotonic() + PATIENCE
    while len(held.runs()) < count:
        if monotonic() > end:
            message = f"run {count} of a job of this benchmark did not begin"
            raise RuntimeError(message)
        pause(0.01)


def memory(stage: ClusterStage) -> Iterator[Row]:
    """Look at the manager's resident memory after some jobs, and after very many."""
    early, late = stage.settings.settled, stage.settings.managed
    with stage.cluster() as cluster:
        cluster.with_echo()
        _work(cluster, early)
        first = _resident(cluster)
        _work(cluster, late)
        last = _resident(cluster)
    yield Row(
        measure=f"RSS growth of the manager over {late:,} jobs",
        ours=Figure(last - first, "MiB"),
        who="to",
        against=Figure(last, "MiB"),
        bar=limit("<", 30, "MiB"),
    )


def _work(cluster: Cluster, count: int) -> None:
    for start in range(0, count, AT_ONCE):
        cluster.burst(min(AT_ONCE, count - start))


def _resident(cluster: Cluster) -> float:
    return float(psutil.Process(cluster.manager.process_id).memory_info().rss / 2**20)


def _imports() -> float:
    began = perf_counter()
    subprocess.run([sys.executable, "-c", "import fastapi, uvicorn"], cwd=ROOT, check=True)
    return perf_counter() - began


MEASURES: dict[str, Callable[[ClusterStage], Iterator[Row]]] = {
    "quick_start": quick_start,
    "latency": latency,
    "throughput": throughput,
    "takeover": takeover,
    "memory": memory,
    **SCRIPTS,
}
