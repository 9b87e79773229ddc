"""Talking to the devices themselves: restarting them, and what else their connectors can do."""
