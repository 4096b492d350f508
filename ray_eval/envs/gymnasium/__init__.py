"""Any Gymnasium environment behind the Simulator seam: what it shows, does and calls success is said by its user."""
