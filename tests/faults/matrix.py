"""
The faults that the transport is held to, by number, and the tests that show what becomes of each.

In every test accepted = delivered + queued + spooled + dropped (by reason) is asserted, and ids are
compared with those at the server. What one Linux machine cannot show says why. Prints the table:

    python tests/faults/matrix.py
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Row:
    """
    One fault.

    Attributes:
        fault: What goes wrong, and what is expected.
        tests: Files and tests below `tests/`, as pytest names them.
        not_here: What of it cannot be shown on one Linux machine, and why.
    """

    fault: str
    tests: tuple[str, ...] = ()
    not_here: str = ""


def row(fault: str, *files: str, not_here: str = "") -> Row:
    """Make a row of `file: test, test` lines."""
    tests: list[str] = []
    for line in files:
        path, _, names = line.partition(": ")
        tests += [f"{path}.py::{name}" for name in names.split(", ")]
    return Row(fault, tuple(tests), not_here)


ROWS: Mapping[int, Row] = {
    1: row(
        "a backend that is down at first: all arrives later, and no caller waits",
        "transport/test_faults: test_down_at_first",
        "faults/test_network: test_caller_never_waits",
        "faults/test_outages: test_short_outage",
    ),
    2: row(
        "a backend that refuses for 25 s or 90 s: all arrives later, after few tries",
        "transport/test_faults: test_down_for_a_while",
        "faults/test_outages: test_short_outage, test_real_outage",
        not_here="90 s are too long for a suite: python tests/faults/outage.py --down 90",
    ),
    3: row(
        "a host that answers no SYN: the connect timeout, then as row 2",
        "faults/test_network: test_black_hole, test_caller_never_waits",
    ),
    4: row(
        "429 with seconds: nothing before that time, and no other lane waits",
        "transport/test_faults: test_retry_after_is_obeyed",
        "transport/test_lane: test_retry_after",
    ),
    5: row(
        "429 with a date, a past one, garbage, a huge number: obeyed, at once, backoff, capped",
        "transport/test_lane: test_retry_after, test_retry_after_zero_for_ever",
        "transport/test_faults: test_retry_after_that_says_nothing",
        "faults/test_network: test_retry_after_that_is_a_date",
    ),
    6: row(
        "429 without a header: our own backoff with full jitter",
        "transport/test_faults: test_retry_after_that_says_nothing",
        "transport/test_lane: test_jitter_is_full",
    ),
    7: row(
        "bursts of 5xx, 408, 425: tried again, a breaker, one batch at a time while half open",
        "transport/test_faults: test_bursts_of_errors",
        "transport/test_lane: test_retried_statuses, test_breaker, test_expiry",
        "faults/test_network: test_backend_that_is_half_open",
    ),
    8: row(
        "401, 403: the lane is parked, keeps what it has, says so once, and tries now and then",
        "transport/test_faults: test_refused_key",
        "transport/test_lane: test_parked",
        "faults/test_network: test_key_that_is_put_right",
    ),
    9: row(
        "404 and its like, redirections: parked; no key goes where a redirection points",
        "transport/test_faults: test_refused_key, test_redirection_is_not_followed",
    ),
    10: row(
        "413 for a batch: halves, few requests, a limit that is learned and grows again",
        "transport/test_faults: test_too_large",
        "transport/test_lane: test_too_large_batch_is_halved, test_batches_grow_again",
    ),
    11: row(
        "413 for one item: sent shortened, once, else dropped as too large",
        "transport/test_lane: test_too_large_item_is_shortened, test_item_that_cannot_be_shortened",
        "transport/test_shorten: test_over_http",
    ),
    12: row(
        "400 or 422 for one bad item: found in log2(n) rounds; verdicts of each item are used",
        "transport/test_faults: test_one_bad_item",
        "transport/test_lane: test_one_bad_item, test_three_bad_among_good, "
        "test_verdict_of_each_item",
        "faults/test_network: test_rounds_to_the_bad_item",
    ),
    13: row(
        "every item is refused: soon given up",
        "transport/test_faults: test_all_items_bad",
        "transport/test_lane: test_every_item_bad",
    ),
    14: row(
        "a reply that drips: the total deadline",
        "transport/test_faults: test_dripping_reply",
        "transport/test_sender: test_body_that_drips_ends_at_the_deadline",
    ),
    15: row(
        "a server that reads nothing: a deadline, too",
        "transport/test_faults: test_server_that_reads_nothing",
    ),
    16: row(
        "a reset, no reply, garbage, half a reply: tried again",
        "transport/test_faults: test_broken_replies",
    ),
    17: row(
        "a server that hangs: the deadline; the end of the process is in time",
        "transport/test_faults: test_hanging_server",
        "transport/test_transport: test_shutdown_with_every_backend_hung",
        "faults/test_outages: test_end_with_every_backend_hung",
    ),
    18: row(
        "a connection that was closed while idle: nobody notices",
        "transport/test_faults: test_stale_connection, test_connection_is_kept",
    ),
    19: row(
        "a name that does not resolve, or takes long to: as refused; the deadline covers it",
        "transport/test_faults: test_unknown_name, test_slow_name",
    ),
    20: row(
        "certificates that are self-signed, expired, of another host: parked, never sent unverified",
        "transport/test_faults: test_self_signed_certificate, "
        "test_certificate_authority_of_the_environment",
        "transport/test_lane: test_parked_by_a_certificate",
        "faults/test_network: test_expired_certificate",
    ),
    21: row(
        "a proxy that refuses or wants a password: tried again, parked; its password is not logged",
        "transport/test_faults: test_proxy_of_the_environment",
        "transport/test_sender: test_proxy_that_wants_a_password",
        "faults/test_network: test_proxy_that_refuses_a_tunnel",
    ),
    22: row(
        "forks while we work and hold locks: each process sends its own, once, without a deadlock",
        "transport/test_lifecycle: test_child_sends_its_own, test_idle_parent_is_not_warned, "
        "test_forks_while_busy, test_closed_parent_has_a_closed_child",
        "faults/test_outages: test_fork_while_locks_are_held",
        "faults/test_children: test_fork_in_the_middle_of_an_import",
    ),
    23: row(
        "a fork with an open connection: the child opens its own",
        "transport/test_lifecycle: test_child_opens_its_own_connection",
    ),
    24: row(
        "children of multiprocessing that end at once: what they recorded is delivered",
        "faults/test_children: test_children_that_end_at_once",
    ),
    25: row(
        "workers of one task, pools that are terminated: delivered, at the latest from the spool",
        "faults/test_children: test_workers_of_one_task, test_pool_whose_workers_just_end",
        not_here="Celery itself needs a broker; the workers are those of its pool, billiard's",
    ),
    26: row(
        "SIGTERM without a handler: nothing is lost with a spool",
        "faults/test_process_deaths: test_death_during_an_outage",
    ),
    27: row(
        "SIGTERM with a handler of ours: delivers, in time, and whoever was there decides the end",
        "test_sigterm: test_dies_of_it, test_handler_of_the_application, test_hanging_backend, "
        "test_asyncio, test_no_deadlock, test_uvicorn",
        "test_launch: test_signals",
    ),
    28: row(
        "SIGKILL: with a spool nothing is lost but what the last window had",
        "faults/test_process_deaths: test_death_during_an_outage, test_death_while_delivering, "
        "test_killed_at_any_moment",
    ),
    29: row(
        "os._exit: as SIGKILL",
        "faults/test_process_deaths: test_death_during_an_outage, test_death_while_delivering",
    ),
    30: row(
        "power loss: what the disk has confirmed is there, the rest is cut off",
        "transport/test_spool: test_sync, test_interval_catches_up",
        "transport/test_spool_segment: test_cut_anywhere",
        not_here="no process can take the power from its own machine, and a virtual disk's cache "
        "survives: that the calls are made is shown, and that any torn end is read",
    ),
    31: row(
        "a disk that is full: memory, counted; delivery makes room",
        "transport/test_spool: test_file_limit, test_disk_full",
        "faults/test_pressure: test_disk_that_takes_no_more",
    ),
    32: row(
        "a spool folder that is read-only, removed, impossible: memory, one warning",
        "transport/test_spool: test_read_only, test_no_folder_possible, test_removed_folder, "
        "test_removed_with_items, test_no_locks",
        "transport/test_spool_delivery: test_unwritable",
        not_here="NFS needs a second machine: a system that refuses locks stands for it",
    ),
    33: row(
        "spool files that are damaged: no exception, nothing forged, only what was hit is lost",
        "transport/test_spool: test_damage, test_damage_after_adoption, test_garbage, "
        "test_foreign_files",
        "transport/test_spool_segment: test_flip_any_bit, test_bytes_put_in_anywhere, "
        "test_garbage, test_empty_pages",
        "faults/test_pressure: test_damaged_spool",
    ),
    34: row(
        "many processes on one spool: one owner at a time, nobody waits, nothing is lost",
        "transport/test_spool: test_owner_alive, test_takes_over_little_by_little",
        "faults/test_process_deaths: test_killed_at_any_moment",
    ),
    35: row(
        "a spool of another version: left alone until it is too old",
        "transport/test_spool: test_newer_version",
        "transport/test_spool_segment: test_another_version",
    ),
    36: row(
        "a spool of a deployment with other keys: no key is in it; strangers wait, then expire",
        "transport/test_spool: test_strangers, test_too_old",
        "transport/test_spool_delivery: test_other_destinations_wait",
        "faults/test_process_deaths: test_what_is_on_disk",
    ),
    37: row(
        "the end of the process with dead backends: 5 s for all, the rest kept, not a traceback",
        "transport/test_lifecycle: test_end_of_the_process_with_a_hanging_backend, "
        "test_end_of_the_process_with_a_dead_backend",
        "faults/test_outages: test_end_with_every_backend_hung",
        "faults/test_process_deaths: test_end_during_an_outage",
        "faults/test_green: test_end_with_a_backend_that_hangs",
    ),
    38: row(
        "no thread can be started: whoever waits does the work",
        "transport/test_lifecycle: test_first_record_at_the_end, test_no_thread_can_be_started, "
        "test_no_thread_and_a_hanging_backend, test_threads_come_back",
    ),
    39: row(
        "the worker dies or is stuck: noticed and replaced; only what it had in hand is lost",
        "transport/test_transport: test_worker_that_dies, test_worker_that_is_stuck, "
        "test_sender_that_dies",
    ),
    40: row(
        "event loops that are closed, many of them, run twice: nothing is bound to one",
        "faults/test_reentry: test_loops_that_are_closed",
    ),
    41: row(
        "recording from signal handlers, finalizers, log handlers: no deadlock, all delivered",
        "transport/test_intake: test_from_a_signal_handler, test_from_a_finalizer",
        "faults/test_reentry: test_from_everywhere_at_once",
    ),
    42: row(
        "recording from within our own sending: not taken, so that nothing feeds on itself",
        "transport/test_transport: test_publish_within_callbacks",
        "transport/test_sender: test_opentelemetry_leaves_us_alone",
        "faults/test_reentry: test_from_everywhere_at_once",
    ),
    43: row(
        "ten megabytes in one value: a bounded cost, cut with a mark, neighbours unharmed",
        "faults/test_values: test_hostile, test_size_is_bounded",
    ),
    44: row(
        "hostile values: nothing is raised, a placeholder arrives, generators are left alone",
        "test_snapshot: test_hostile, test_values, test_generator_untouched, test_anything",
        "faults/test_values: test_hostile, test_generators_are_not_consumed",
    ),
    45: row(
        "a repr that takes long is not run; Ctrl-C is the application's",
        "faults/test_values: test_hostile, test_interrupts_pass",
    ),
    46: row(
        "messages that are changed afterwards: delivered as they were",
        "test_snapshot: test_now",
        "faults/test_values: test_state_at_capture",
    ),
    47: row(
        "100,000 at once: microseconds each, memory within its bound, all counted",
        "transport/test_lifecycle: test_burst",
        "transport/test_transport: test_burst_is_bounded, test_burst_is_bounded_by_bytes",
    ),
    48: row(
        "producers that are faster than the network: flat memory, a spool within its cap, counted",
        "faults/test_pressure: test_producers_faster_than_the_network",
        "transport/test_spool_delivery: test_overflow",
        "transport/test_faults: test_full_lane_drops_the_oldest",
        not_here="ten minutes are too long for a suite: seconds at small caps stand for them",
    ),
    49: row(
        "one dead backend among five: the others do not notice",
        "transport/test_faults: test_one_hung_backend_among_five",
        "faults/test_network: test_dead_one_among_five_stays_alone",
    ),
    50: row(
        "clocks that jump, a machine that slept: waits and ages are unaffected",
        "transport/test_faults: test_clock_that_jumps",
        "faults/test_outages: test_stopped_during_a_request",
        not_here="suspending the machine would suspend the test: a stopped process stands for it",
    ),
    51: row(
        "a process that is frozen during a request: the request is tried again, nobody is replaced",
        "faults/test_outages: test_stopped_during_a_request",
        "test_serverless: test_end_of_a_root, test_frozen_for_ever",
    ),
    52: row(
        "a reply that is lost: the same ids and bytes again",
        "transport/test_faults: test_reply_that_is_lost",
    ),
    53: row(
        "gevent, eventlet, patched before or after the import: delivered, and nobody is blocked",
        "faults/test_green: test_patched, test_end_with_a_backend_that_hangs",
    ),
    54: row(
        "a user's hook that raises, blocks or returns nonsense: never sent unmasked, others flow",
        "transport/test_transport: test_hook_that_fails, test_shutdown_with_a_stuck_hook, "
        "test_worker_that_is_stuck",
        "test_privacy: test_fails_closed",
    ),
    55: row(
        "ended twice, recording after the end, flushing from callbacks and from fifty threads",
        "transport/test_transport: test_shutdown, test_publish_after_shutdown, "
        "test_flush_within_callbacks, test_flush_from_many_threads",
    ),
    56: row(
        "free-threaded builds, sub-interpreters, new releases: no crash",
        "transport/test_intake: test_many_threads",
        not_here="orjson, which the package needs, refuses to be loaded in a sub-interpreter; a "
        "free-threaded build is not on this machine; each release of Python is for CI",
    ),
}


def main() -> None:
    """Print the table."""
    for number, each in ROWS.items():
        print(f"{number:2} {each.fault}")
        for test in each.tests:
            print(f"     {test}")
        if each.not_here:
            print(f"   - {each.not_here}")


if __name__ == "__main__":
    main()
