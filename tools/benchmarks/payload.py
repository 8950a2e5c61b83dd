"""The job of every measure: a typed input of about 200 bytes of JSON."""

from pydantic import BaseModel

from mindtrace.jobs import JobSchema

QUEUE = "bench"


class Shot(BaseModel):
    """What a camera reports: 200 bytes of JSON, with a field of each usual kind."""

    number: int
    camera: str = "line-3/station-7/top"
    path: str = "shots/2031-05-17/line-3/station-7/0123456789abcdef.png"
    exposure: float = 0.0125
    labels: list[str] = ["scratch", "dent", "missing screw"]
    keep: bool = True


SCHEMA = JobSchema(name=QUEUE, input_schema=Shot)


def shots(count: int) -> list[Shot]:
    """Return `count` inputs."""
    return [Shot(number=number) for number in range(100_000, 100_000 + count)]


def texts(count: int) -> list[str]:
    """Return the same as JSON texts, for those who know no models."""
    return [shot.model_dump_json() for shot in shots(count)]
