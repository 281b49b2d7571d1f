"""What every process does: settings, logs, clock, start and stop. Imports protocol only."""
