"""LIBERO-Plus: LIBERO's own tasks, seen, begun, worded and laid out otherwise; its wheel is taken as data."""
