"""The contract of a backend: one class for each rule of `docs/job-life-cycle.md`.

The author of a backend proves it with three lines and a `Harness`:

    class TestContract(BackendContract):
        @pytest.fixture
        def harness(self, my_url: str) -> Iterator[Harness]:
            with MyHarness(my_url) as harness:
                yield harness

What a store declares that it cannot do is tested too: it must refuse, and never do something else.
"""

from __future__ import annotations

from mindtrace.jobs.testing import (
    administering,
    claiming,
    holding,
    moving,
    ordering,
    processes,
    publishing,
    running,
    settling,
)


class InProcessContract:
    """What holds for every store, also for one that no other process can reach."""

    TestRule01PublishReturnsTheIdOnceTheJobIsSafe = (
        publishing.Rule01PublishReturnsTheIdOnceTheJobIsSafe
    )
    TestRule02AtLeastOnce = holding.Rule02AtLeastOnce
    TestRule03TheLeaseBelongsToTheHolder = holding.Rule03TheLeaseBelongsToTheHolder
    TestRule03Claiming = claiming.Rule03Claiming
    TestRule04Fencing = settling.Rule04Fencing
    TestRule05ACrashIsCounted = holding.Rule05ACrashIsCounted
    TestRule06Order = ordering.Rule06Order
    TestRule07Retry = running.Rule07Retry
    TestRule08DeadLetters = administering.Rule08DeadLetters
    TestRule09PriorityIsNeverInverted = running.Rule09PriorityIsNeverInverted
    TestRule10AdaptivePrefetch = running.Rule10AdaptivePrefetch
    TestRule11Stop = running.Rule11Stop
    TestRule12Delay = publishing.Rule12Delay
    TestRule13IdentityAndDedup = publishing.Rule13IdentityAndDedup
    TestRule14Records = administering.RecordsOfJobs
    TestRule14Results = running.Rule14Results
    TestRule15Counts = administering.Rule15Counts
    TestRule16InvalidMessages = running.Rule16InvalidMessages
    TestRule17BackendAway = administering.Rule17BackendAway
    TestRule18IdleCostsNothing = administering.Rule18IdleCostsNothing
    TestRule19PurgeAndDelete = administering.Rule19PurgeAndDelete
    TestRule20SeveralQueues = ordering.Rule20SeveralQueues
    TestRule20Consuming = running.Rule20Consuming
    TestRule21Cancel = administering.Rule21Cancel
    TestRule21CancelWhileRunning = running.Rule21CancelWhileRunning
    TestRule22Threads = running.Rule22Threads
    TestRule23TakingOut = moving.Rule23TakingOut
    TestRule23Moving = moving.Rule23Moving
    TestRule23BringingIn = moving.Rule23BringingIn


class BackendContract(InProcessContract):
    """Every rule, for a store that other processes reach by the harness's `url`."""

    TestRule02Killed = processes.Rule02Killed
    TestRule03Processes = processes.Rule03Processes
    TestRule11Signals = processes.Rule11Signals
    TestRule22Forks = processes.Rule22Forks
