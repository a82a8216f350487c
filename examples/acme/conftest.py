"""Gives the tests the fixture `taskql`: the whole system with Acme's handlers."""

pytest_plugins = ["taskql.testing.plugin"]
