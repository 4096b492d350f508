"""gym-aloha 0.1.5 behind the Simulator seam."""
