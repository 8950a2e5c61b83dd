"""An S3 server of the tests' own that checks its keys: moto, with authentication on.

As a script it says in a line of JSON where it is, and ends when its standard input does.
"""

import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import boto3  # pyright: ignore[reportMissingTypeStubs]
from cluster_support import eventually, free_port

ALLOWED = {"Effect": "Allow", "Action": "s3:*", "Resource": "*"}
POLICY = json.dumps({"Version": "2012-10-17", "Statement": [ALLOWED]})


class ObjectStore(NamedTuple):
    """Where it is, and the only key that it takes."""

    endpoint: str
    access_key: str
    secret_key: str

    def url(self, bucket: str = "workers") -> str:
        # a secret key has slashes in it every now and then
        secret_key = quote(self.secret_key, safe="")
        return f"s3://{self.access_key}:{secret_key}@{self.endpoint}/{bucket}"


@contextmanager
def object_store(folder: Path) -> Generator[ObjectStore]:
    """Run a server."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with (folder / "moto.log").open("wb") as log:
        server = subprocess.Popen(
            command, stdout=log, stderr=log, env={"INITIAL_NO_AUTH_ACTION_COUNT": "3"}
        )
    try:
        eventually(lambda: _listens(port), what="the object store's port")
        # exactly three calls without a key are allowed: those that make one
        make: Any = boto3  # it has no types
        client: Any = make.client(
            "iam",
            endpoint_url=f"http://127.0.0.1:{port}",
            region_name="us-east-1",
            aws_access_key_id="x",
            aws_secret_access_key="x",
        )
        client.create_user(UserName="app")
        client.put_user_policy(UserName="app", PolicyName="p", PolicyDocument=POLICY)
        key = client.create_access_key(UserName="app")["AccessKey"]
        yield ObjectStore(f"127.0.0.1:{port}", key["AccessKeyId"], key["SecretAccessKey"])
    finally:
        server.terminate()
        server.wait(10)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, object_store(Path(folder)) as store:
        print(json.dumps(store._asdict()), flush=True)  # noqa: T201 - to whoever started it
        sys.stdin.read()


if __name__ == "__main__":
    main()
