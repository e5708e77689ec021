"""Lease of a run as an object, which conditional writes let only one process have, on any number of machines.

It is renewed by writing it again over the version that was written last. Its age is by the server's clock alone.
"""

import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress

from bagoftricks.errors import RunElsewhere, StoreUnreachable
from bagoftricks.store.json_fields import Json
from bagoftricks.store.lease import HEARTBEAT_SECONDS, Lease, is_alive, parse_lease, this_process
from bagoftricks.store.objects import Objects, ServerClock, Version

TRUSTED_SECONDS = 2 * HEARTBEAT_SECONDS  # since the last question to the server, in which ``held`` asks nothing


class ObjectLease(Lease):
    """Lease that is an object. While the server does not answer, it counts as held: nothing is known to the contrary.

    ``held`` trusts the last heartbeat for a while, so that a training never waits for the server. What must not be
    written by two processes is written after ``confirm``.
    """

    def __init__(self, objects: Objects, key: str, owner: Json, version: Version, *, took_over: bool = False) -> None:
        super().__init__(owner["token"], took_over=took_over)
        self.objects, self.key, self.owner, self.version = objects, key, owner, version
        self.beats, self.lost, self.asked = 0, False, time.monotonic()
        self.at_the_end: Callable[[], object] = lambda: None
        self._one = threading.Lock()  # one thread of this process at a time

    def held(self) -> bool:
        if time.monotonic() - self.asked > TRUSTED_SECONDS and self._one.acquire(
            blocking=False
        ):  # else it is asked now
            try:
                with suppress(StoreUnreachable):
                    self._look()
            finally:
                self._one.release()
        return not self.lost

    def beat(self) -> None:
        with suppress(StoreUnreachable):  # for a while; after a minute another process may take the run over
            self._renew()

    def confirm(self) -> None:
        """Renew the lease. Raises RunElsewhere if another process has it, StoreUnreachable if that cannot be told."""
        self._renew()
        if self.lost:
            raise RunElsewhere(f"{self.key} was taken over by another process while this one did not answer")

    def remove(self) -> None:
        with suppress(StoreUnreachable, RunElsewhere):  # it is another's, or will be seen to be a dead process's
            self.confirm()
            self.objects.delete(self.key)

    def finish(self) -> None:
        self.at_the_end()

    def _renew(self) -> None:
        with self._one:
            if self.lost:
                return
            self.beats += 1
            data = lease_bytes(self.owner, self.beats)
            try:
                version = self.objects.replace(self.key, data, self.version)
            finally:
                self.asked = time.monotonic()
            if version is None:
                self._look()  # a write that was sent twice finds its own; the next beat renews it
            else:
                self.version = version

    def _look(self) -> None:
        """Read whose the lease is."""
        try:
            found = self.objects.get(self.key)
        finally:
            self.asked = time.monotonic()
        owner = parse_lease(found.data) if found else None
        if found is None or owner is None or owner["token"] != self.token:
            self.lost = True
        else:
            self.version = found.version


def claim_object(objects: Objects, key: str, clock: ServerClock) -> ObjectLease | None:
    """Return the lease that is the object ``key``, or None while another live process has it."""
    seen = objects.get(key)
    owner = this_process()
    data = lease_bytes(owner, 0)
    if seen is None:
        version = objects.put_if_absent(key, data)
    elif object_is_live(seen.data, f"{objects.url}/{key}", seen.modified, clock):
        return None
    else:
        version = objects.replace(key, data, seen.version)
    if version is None:  # another process was faster, or this one's write was sent twice
        found = objects.get(key)
        if found is None or found.data != data:
            return None
        version = found.version
    return ObjectLease(objects, key, owner, version, took_over=seen is not None)


def object_is_live(data: bytes, name: str, modified: float, clock: ServerClock) -> bool:
    """Return True if the process that wrote this lease still works on its run."""
    return is_alive(data, name, lambda: clock.now() - modified)


def lease_bytes(owner: Json, beats: int) -> bytes:
    """Return the contents of a lease, which differ at every beat."""
    return json.dumps({**owner, "beats": beats}).encode()
