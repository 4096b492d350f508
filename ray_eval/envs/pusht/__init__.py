"""gym-pusht 0.1.8 behind the Simulator seam."""

import os

# pygame greets on standard output whoever imports it, which belongs to the reports.
os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
