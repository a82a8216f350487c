"""The ports, made real: PostgreSQL, SQS and Redis. Only taskql.bootstrap imports these."""
