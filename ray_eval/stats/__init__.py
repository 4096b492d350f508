"""Statistics of success rates: pure functions of counts, which import nothing of the package but themselves."""
