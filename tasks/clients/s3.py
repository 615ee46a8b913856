"""An S3 bucket as a store of small objects. Conditional writes are atomic in S3, so a lock made of one is real."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError, ProfileNotFound

from runbooks.errors import Refused, Unavailable
from runbooks.site import Bucket
from tasks import secrets
from tasks.stored import Changed, Exists, Object

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

CONNECT_SECONDS = 2
READ_SECONDS = 5
FAILED_CONDITION = {"PreconditionFailed", "412"}
MISSING = {"NoSuchKey", "404"}
BUSY = {HTTPStatus.CONFLICT, HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.REQUEST_TIMEOUT}
HINTS = {
    "NoSuchBucket": "is the bucket's name right, and was it created?",
    "AccessDenied": "does this identity have the right, and does a bucket policy forbid it?",
    "InvalidAccessKeyId": "is the access key the one of this endpoint, and was it revoked?",
    "SignatureDoesNotMatch": "is the secret key right?",
}


class S3Store:
    def __init__(self, client: S3Client, bucket: str, prefix: str) -> None:
        self._client = client
        self._bucket = bucket
        self._prefix = prefix

    def put(self, key: str, body: bytes) -> None:
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=body)

    def put_if_absent(self, key: str, body: bytes) -> None:
        with self._translated(key):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=body, IfNoneMatch="*")

    def put_if_match(self, key: str, body: bytes, etag: str) -> None:
        with self._translated(key, condition=Changed, missing=Changed):
            self._client.put_object(Bucket=self._bucket, Key=self._key(key), Body=body, IfMatch=etag)

    def get(self, key: str) -> Object | None:
        try:
            with self._translated(key, missing=_Missing):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key(key))
                return Object(body=answer["Body"].read(), etag=answer["ETag"])
        except _Missing:
            return None

    def list(self, prefix: str) -> tuple[str, ...]:
        with self._translated(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self._bucket, Prefix=self._key(prefix)
            )
            found = [one["Key"] for page in pages for one in page.get("Contents", [])]
        return tuple(sorted(key.removeprefix(self._prefix) for key in found))

    def delete(self, key: str) -> None:
        with self._translated(key):
            self._client.delete_object(Bucket=self._bucket, Key=self._key(key))

    def _key(self, key: str) -> str:
        return self._prefix + key

    @contextmanager
    def _translated(
        self, key: str, *, condition: type[Refused] = Exists, missing: type[Refused] = Refused
    ) -> Iterator[None]:
        where = f"s3://{self._bucket}/{self._key(key)}"
        try:
            yield
        except ClientError as error:
            raise _told(where, error, condition, missing) from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise Refused(f"{where}: no credentials for S3", _CREDENTIALS) from error
        except (BotoCoreError, OSError) as error:
            raise Unavailable(
                f"{where}: {type(error).__name__} from {self._client.meta.endpoint_url}",
                "is the endpoint right, and does it run?",
            ) from error


class _Missing(Refused):
    """No such key."""


_CREDENTIALS = "name a profile or key references in the site file, or use boto3's default chain (AWS_PROFILE, role)"


def _told(where: str, error: ClientError, condition: type[Refused], missing: type[Refused]) -> Refused | Unavailable:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code in FAILED_CONDITION:
        return condition(f"{where} was written by somebody else", "read it again and decide anew")
    if code in MISSING:
        return missing(f"{where} does not exist", "was it deleted?")
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in BUSY:
        return Unavailable(f"{where}: {code or status}", "ask again; is the store overloaded?")
    return Refused(f"{where}: {code or status}", HINTS.get(code, "are endpoint, region, bucket and rights right?"))


def connect(bucket: Bucket) -> S3Store:
    """Nothing is asked yet.

    Raises:
        Refused: a secret or profile that the site file names does not exist.
    """
    url = urlsplit(bucket.url)
    access = secrets.read(bucket.access_key) if bucket.access_key else None
    secret = secrets.read(bucket.secret_key) if bucket.secret_key else None
    prefix = url.path.strip("/")
    return S3Store(_client(bucket, access, secret), url.netloc, f"{prefix}/" if prefix else "")


@functools.lru_cache(maxsize=16)
def _client(bucket: Bucket, access: str | None, secret: str | None) -> S3Client:
    """Kept, since making one costs 50 ms; it is safe to use from several threads."""
    try:
        session = boto3.Session(
            aws_access_key_id=access,
            aws_secret_access_key=secret,
            profile_name=bucket.profile,
            region_name=bucket.region,
        )
    except ProfileNotFound as error:
        raise Refused(f"AWS profile {bucket.profile!r} is not configured here", _CREDENTIALS) from error
    config = Config(
        connect_timeout=CONNECT_SECONDS,
        read_timeout=READ_SECONDS,
        retries={"total_max_attempts": 1},  # the caller decides what is asked again
        s3={"addressing_style": "path"},
        request_checksum_calculation="when_required",  # S3-compatible stores do not know the newer trailers
        response_checksum_validation="when_required",
    )
    return session.client(
        "s3",
        endpoint_url=bucket.endpoint,
        region_name=bucket.region or session.region_name or "us-east-1",
        verify=str(bucket.ca_file) if bucket.ca_file else None,
        config=config,
    )
