"""Every bound of the transport, with a name and a unit."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, final

KIB = 1024
MIB = 1024 * KIB

Sync: TypeAlias = Literal["none", "batch", "interval"]


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """
    How much the transport may hold, and how long it may take. Times are seconds.

    Attributes:
        queue_events: Records that the intake holds at most, and items that a lane does.
        queue_bytes: What all of that weighs at most: a quarter for the intake, the rest divided
            among the lanes.
        flush_interval: How long an item waits for others to be sent with it.
        first_interval: The same for the first `first_items` of a lane, so that a newcomer sees
            something soon.
        wake_events: Records in the intake that wake the worker before its time.
        wake_bytes: Bytes in the intake that do.
        max_age: How long a lane tries to deliver an item before it drops it.
        request_deadline: How long one request takes at most, name resolution included.
        exit_seconds: How long `shutdown` waits when it is not told.
        max_senders: Threads that send, beside the worker.
        backoff_base: Mean of the first wait after a failure is half of this; it doubles each time.
        backoff_cap: The longest such wait.
        exit_backoff_cap: The longest such wait while the process ends.
        breaker_failures: Failures in a row after which a lane counts as open.
        pause_cap: The longest wait that a backend may ask for.
        probe_interval: Time between two tries when a backend refused the key or the address.
        started_ids: Runs that a lane remembers as delivered, ended ones less long.
        trees: Trees whose root has not ended that are held, where whole trees are wanted.
        tree_age: How long such a tree is held after its first run ended.
        heartbeat: How long one step of the worker may take before it is replaced.
        connect_timeout: For a connection to be there.
        transfer_timeout: For the next bytes to be read or written.
        response_bytes: Bytes of a reply that are read.
        gzip_bytes: Bodies of more bytes than this are compressed.
    """

    queue_events: int = 10_000
    queue_bytes: int = 32 * MIB
    flush_interval: float = 1.0
    first_interval: float = 0.1
    first_items: int = 10
    wake_events: int = 100
    wake_bytes: int = MIB
    max_age: float = 24 * 3600.0
    request_deadline: float = 15.0
    exit_seconds: float = 5.0
    max_senders: int = 4
    backoff_base: float = 0.5
    backoff_cap: float = 60.0
    exit_backoff_cap: float = 1.0
    breaker_failures: int = 5
    pause_cap: float = 15 * 60.0
    probe_interval: float = 5 * 60.0
    started_ids: int = 10_000
    trees: int = 1_000
    tree_age: float = 3600.0
    heartbeat: float = 30.0
    connect_timeout: float = 3.0
    transfer_timeout: float = 10.0
    response_bytes: int = 64 * KIB
    gzip_bytes: int = KIB

    @property
    def intake_bytes(self) -> int:
        """The intake's part of `queue_bytes`."""
        return self.queue_bytes // 4

    def lane_bytes(self, lanes: int) -> int:
        """The part of `queue_bytes` that each of so many lanes has."""
        return (self.queue_bytes - self.intake_bytes) // max(1, lanes)


@final
@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolOptions:
    """
    Where the spool is and how much it may hold. Times are seconds.

    Attributes:
        path: The folder, which other processes may use too.
        sync: When written items are forced to the disk: never (they outlive the process, not the
            machine), after each batch, or every `sync_interval`.
        max_bytes: What the folder may hold, files of all processes counted.
        max_age: How long a file is kept.
        window: How long a record waits at most before it is written.
        segment_bytes: Size at which a new file is begun.
        segment_age: The same by age, as long as there are not more than `young_files`.
        adopt_bytes: What is taken over of other processes at a time.
        scan_interval: Time between two looks at the folder for files without an owner.
        retry_interval: Time until the next try after something could not be written.
    """

    path: str
    sync: Sync = "batch"
    max_bytes: int = 64 * MIB
    max_age: float = 7 * 24 * 3600.0
    window: float = 0.05
    sync_interval: float = 0.5
    segment_bytes: int = 4 * MIB
    segment_age: float = 5.0
    young_files: int = 16
    adopt_bytes: int = 8 * MIB
    scan_interval: float = 30.0
    retry_interval: float = 5.0
