"""The API process: a GraphQL schema over taskql's service, and the transports that carry it."""
