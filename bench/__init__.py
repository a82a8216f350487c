"""What TaskQL costs, measured beside what one would take instead."""
