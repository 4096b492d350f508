"""What is made of an episode while it is run again: films, stills, findings; runs in workers, and knows no Ray."""
