"""
From records to destinations, one file a step.

`transport` is the door; `intake` takes records in the application's threads; `worker` makes items
of them and deals them out; a `lane` for each exporter decides (and never waits); `pool` and
`sender` do what it decided; a `ledger` for each lane keeps count. With a `spool`, the `backlog`
has all of it on disk too.
"""

from .bounds import Bounds, SpoolOptions
from .flush import Flushed
from .transport import Transport

__all__ = ["Bounds", "Flushed", "SpoolOptions", "Transport"]
