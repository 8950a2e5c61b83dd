"""Which queue a job goes to when nobody names one."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mindtrace.jobs.job import Job


class JobType(StrEnum):
    """Kinds of work that have a queue of their own."""

    ML_TRAINING = "ml_training"
    OBJECT_DETECTION = "object_detection"
    DATA_PROCESSING = "data_processing"
    CLASSIFICATION = "classification"
    DEFAULT = "default"


QUEUE_MAPPING: dict[JobType, str] = {
    JobType.ML_TRAINING: "ml_training_jobs",
    JobType.OBJECT_DETECTION: "detection_jobs",
    JobType.DATA_PROCESSING: "data_jobs",
    JobType.CLASSIFICATION: "classification_jobs",
    JobType.DEFAULT: "default_jobs",
}
"""The queue of each job type; declared on first use."""


def get_queue_for_job_type(job_type: JobType) -> str:
    """Return the queue of a job type."""
    return QUEUE_MAPPING[JobType(job_type)]


def get_queue_for_job(job: Job) -> str:
    """Return the queue of the job's type."""
    return get_queue_for_job_type(job.job_type)
