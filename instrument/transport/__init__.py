"""From records to destinations: intake, worker, lanes, sender, ledger."""
