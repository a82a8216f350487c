"""The worker process: receive, claim, run, record, acknowledge."""
