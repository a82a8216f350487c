"""Kinds of tasks that Acme's front ends ask for."""
