"""Queue types: the same five jobs leave a fifo, a stack and a priority queue in different orders.

python samples/jobs/priorities.py
"""

from pydantic import BaseModel

from mindtrace.jobs import JobSchema, LocalClient, Orchestrator, handler


class Task(BaseModel):
    """What goes in."""

    title: str


TASK = JobSchema(name="task", input_schema=Task)
PRIORITIES = {"tidy up": 1, "fix the leak": 100, "answer mail": 10, "call back": 10, "read": 0}


@handler(TASK)
def work(task: Task) -> None:
    """Run one job."""
    print(f"  {PRIORITIES[task.title]:>3}  {task.title}")


if __name__ == "__main__":
    for queue_type in ("fifo", "stack", "priority"):
        orchestrator = Orchestrator(LocalClient.in_memory())
        queue = orchestrator.register(TASK, queue_type=queue_type)
        for title, priority in PRIORITIES.items():
            orchestrator.publish(queue, Task(title=title), priority=priority)

        print(f"{queue_type}:")
        work.connect(orchestrator)
        work.consume_until_empty()
        work.close()
