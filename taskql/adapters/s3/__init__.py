"""ResultStore over Amazon S3, or whatever speaks its protocol."""

from taskql.adapters.s3.results import S3Results, open_results

__all__ = ["S3Results", "open_results"]
