"""`S3Registry`: worker types in a bucket of MinIO or S3."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Self
from urllib.parse import unquote, urlsplit

import urllib3
from minio import Minio
from minio.error import MinioException, S3Error

from mindtrace.cluster.core.names import checked_name
from mindtrace.cluster.errors import RegistryUnavailableError, WorkerTypeNotFoundError
from mindtrace.cluster.ports.registry import parsed

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from mindtrace.cluster.core.types import ProxyWorker

    T = TypeVar("T")

FOLDER = "workers/"
PATIENCE = urllib3.Timeout(connect=5, read=30)


class S3Registry:
    """Worker types as `workers/<name>.json` in a bucket, made when needed; see `WorkerRegistry`."""

    def __init__(
        self, endpoint: str, access_key: str, secret_key: str, bucket: str, *, secure: bool = False
    ) -> None:
        http = urllib3.PoolManager(timeout=PATIENCE, retries=urllib3.Retry(2, backoff_factor=0.2))
        self._client = Minio(
            endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=secure,
            http_client=http,
        )
        self._bucket = bucket
        self.address = f"{endpoint}/{bucket}"

    @classmethod
    def from_url(cls, url: str) -> Self:
        """Return the registry of `s3://key:secret@host:port/bucket`; `s3s` takes https.

        Raises:
            ValueError: it is no such URL; it is not shown, for the secret is in it.
        """
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            message = (
                "the URL of the registry is not s3://key:secret@host:port/bucket; "
                "in the key and the secret, '/' is written %2F, ':' %3A and '@' %40"
            )
            raise ValueError(message) from None
        host = parts.hostname or "localhost"
        endpoint = host if port is None else f"{host}:{port}"
        return cls(
            endpoint,
            unquote(parts.username or ""),
            unquote(parts.password or ""),
            parts.path.strip("/") or "workers",
            secure=parts.scheme == "s3s",
        )

    def save(self, name: str, worker: ProxyWorker) -> None:
        """Keep a worker type."""
        text = worker.model_dump_json(indent=2).encode()
        key = self._key(name)

        def put() -> None:
            if not self._client.bucket_exists(self._bucket):
                self._make_bucket()
            self._client.put_object(
                self._bucket, key, BytesIO(text), len(text), content_type="application/json"
            )

        self._call(put)

    def load(self, name: str) -> ProxyWorker:
        """Return a worker type."""
        key = self._key(name)

        def get() -> bytes | None:
            try:
                answer = self._client.get_object(self._bucket, key)
            except S3Error as error:
                if error.code in {"NoSuchKey", "NoSuchBucket"}:
                    return None
                raise
            try:
                return answer.read()
            finally:
                answer.close()
                answer.release_conn()

        found = self._call(get)
        if found is None:
            raise WorkerTypeNotFoundError(name, self.names())
        return parsed(found, self.address, name)

    def names(self) -> list[str]:
        """Return the names of all worker types."""

        def listed() -> list[str]:
            if not self._client.bucket_exists(self._bucket):
                return []
            found = self._client.list_objects(self._bucket, prefix=FOLDER)
            keys = [each.object_name or "" for each in found]
            return sorted(
                each.removeprefix(FOLDER).removesuffix(".json")
                for each in keys
                if each.endswith(".json")
            )

        return self._call(listed)

    def remove(self, name: str) -> None:
        """Forget a worker type."""
        key = self._key(name)
        self._call(lambda: self._client.remove_object(self._bucket, key))

    def _key(self, name: str) -> str:
        return f"{FOLDER}{checked_name(name)}.json"

    def _make_bucket(self) -> None:
        try:
            self._client.make_bucket(self._bucket)
        except S3Error as error:
            # another manager was faster
            if error.code not in {"BucketAlreadyOwnedByYou", "BucketAlreadyExists"}:
                raise

    def _call(self, work: Callable[[], T]) -> T:
        try:
            return work()
        except (MinioException, urllib3.exceptions.HTTPError, OSError) as error:
            raise RegistryUnavailableError(self.address, _reason(error)) from error


def _reason(error: Exception) -> str:
    if isinstance(error, S3Error):
        if error.code in {"InvalidAccessKeyId", "SignatureDoesNotMatch", "AccessDenied"}:
            return "the access key or the secret key is wrong, or may not do that"
        return f"{error.code}: {error.message}"
    return str(error)
