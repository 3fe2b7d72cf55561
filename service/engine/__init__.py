"""The step loop: a bounded queue, rows that share model calls, and events."""
