"""Handlers' models as clients know them: their GraphQL types, and values on their way in and out."""
