"""The kinds that ship, one file each, written as any handler author would write theirs."""
