"""Objects of Amazon S3, Google Cloud Storage and Azure, through obstore. Credentials come from the environment.

A request that fails for a moment is sent again with growing pauses. A conditional write that is sent again may find the
object that it wrote itself: who gets None reads what is there.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import obstore
from obstore import exceptions
from obstore.store import from_url

from bagoftricks.errors import StoreUnreachable, printable
from bagoftricks.store.objects import Got, ListedObject, Version

SMALL_SECONDS, BULK_SECONDS = 10, 300  # until a request for a few bytes, or for a part of a file, is given up
RETRY_SECONDS = 20  # in which a request is sent again
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY",
}
ENDPOINT = {"s3": " (AWS_ENDPOINT_URL names another)"}
METADATA = ("169.254.169.254", "metadata", "Account must be specified", "CredentialsNotFound")
NO_BUCKET = ("NoSuchBucket", "bucket does not exist", "ContainerNotFound")
TAKEN = (exceptions.AlreadyExistsError, exceptions.PreconditionError)


class CloudObjects:
    """Objects below one address of a cloud's storage."""

    def __init__(self, url: str) -> None:
        self.url, self.scheme = url, url.partition("://")[0].lower()
        with self._explained():
            self.small, self.bulk = (_client(url, seconds) for seconds in (SMALL_SECONDS, BULK_SECONDS))

    def get(self, key: str) -> Got | None:
        with self._explained():
            try:
                found = obstore.get(self.small, key)
                meta = found.meta
                return Got(bytes(found.bytes()), self._version(meta), meta["last_modified"].timestamp())
            except FileNotFoundError as error:
                require_bucket(error)
                return None

    def download(self, key: str, path: Path) -> Version | None:
        with self._explained():
            try:
                found = obstore.get(self.bulk, key)
            except FileNotFoundError as error:
                require_bucket(error)
                return None
            with path.open("wb") as file:
                for block in found.stream():
                    file.write(block)
            return self._version(found.meta)

    def put(self, key: str, data: bytes) -> Version:
        with self._explained():
            return self._version(obstore.put(self.small, key, data))

    def upload(self, key: str, path: Path) -> Version:
        with self._explained():
            return self._version(obstore.put(self.bulk, key, path))

    def put_if_absent(self, key: str, data: bytes) -> Version | None:
        return self._put(key, data, "create")

    def replace(self, key: str, data: bytes, version: Version) -> Version | None:
        mode = {"e_tag": f'"{version.tag}"'} | ({} if version.generation is None else {"version": version.generation})
        return self._put(key, data, mode)

    def _put(self, key: str, data: bytes, mode: Any) -> Version | None:
        with self._explained():
            try:
                return self._version(obstore.put(self.small, key, data, mode=mode))
            except TAKEN:
                return None
            except exceptions.GenericError as error:
                if "409 Conflict" in str(error):  # another write came in between
                    return None
                raise

    def delete(self, key: str) -> None:
        with self._explained():
            try:
                obstore.delete(self.small, key)
            except FileNotFoundError as error:
                require_bucket(error)

    def list(self, folder: str = "") -> list[ListedObject]:
        with self._explained():
            metas = obstore.list(self.small, folder or None).collect()
            found = [ListedObject(m["path"], _tag(m), m["size"], m["last_modified"].timestamp()) for m in metas]
            return sorted(found, key=lambda listed: listed.key)

    def _version(self, meta: Any) -> Version:
        return Version(_tag(meta), meta["version"] if self.scheme == "gs" else None)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        """Raise what obstore raises as one line that says what to type."""
        try:
            yield
        except (exceptions.BaseError, OSError) as error:
            raise StoreUnreachable(f"store={self.url}: {_why(self.scheme, str(error))}") from error


def require_bucket(error: FileNotFoundError) -> None:
    """Raise the error if it is of the bucket, and not of one object."""
    if any(word in str(error) for word in NO_BUCKET):
        raise error


def _tag(meta: Any) -> str:
    """Return an entity tag without its quotes, which Azure leaves out in listings."""
    return (meta["e_tag"] or "").strip('"')


def _client(url: str, seconds: int) -> Any:
    plain_http = os.environ.get("AWS_ENDPOINT_URL", "").startswith("http://")
    options: Any = {"timeout": f"{seconds}s", "connect_timeout": "5s"} | ({"allow_http": True} if plain_http else {})
    backoff: Any = {"init_backoff": timedelta(seconds=0.1), "max_backoff": timedelta(seconds=5), "base": 2}
    retries: Any = {"max_retries": 10, "retry_timeout": timedelta(seconds=RETRY_SECONDS), "backoff": backoff}
    return from_url(url, client_options=options, retry_config=retries)


def _why(scheme: str, text: str) -> str:
    """Return the cause of an error and what to type, from the text that obstore gives."""
    if any(word in text for word in METADATA):
        return f"no credentials were found: set {CREDENTIALS[scheme]}"
    if any(word in text for word in NO_BUCKET):
        return "there is no such bucket: make it, or correct its name"
    if "401 Unauthorized" in text or "InvalidAccessKeyId" in text or "SignatureDoesNotMatch" in text:
        return f"the server does not accept the credentials: check {CREDENTIALS[scheme]}"
    if "403 Forbidden" in text:
        return "permission denied: these credentials must be allowed to list, read, write and delete there"
    if "error sending request" in text or "kind: Connect" in text or "kind: Timeout" in text:
        return f"the server does not answer{ENDPOINT.get(scheme, '')}: check the network"
    return printable(text.partition("\n")[0])[:300]
