"""How long a run will take and what it needs: pure, from measured figures to a prediction."""
