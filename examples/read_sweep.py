"""A sweep's results in pandas: `python examples/read_sweep.py runs/SWEEP`."""

import sys
from pathlib import Path

import pandas as pd


def episodes_of(sweep: Path) -> pd.DataFrame:
    """Every episode of every point, a row each, with the point's folder, whose name says what was swept."""
    points = sorted((sweep / "points").iterdir())
    return pd.concat(
        [pd.read_csv(point / "episodes.csv").assign(point=point.name) for point in points], ignore_index=True
    )


def main(sweep: Path) -> pd.DataFrame:
    """Prints the rate of each point by task, and how many episodes differ from the first point."""
    episodes = episodes_of(sweep)
    episodes["is_success"] = episodes["outcome"] == "success"
    rates = episodes.pivot_table(index=["suite", "task_id"], columns="point", values="is_success", aggfunc="mean")
    print(rates.round(2).to_string())
    # The same episode of two points has the same start, seeds and latency draws: a pair.
    pairs = episodes.pivot_table(index="episode_id", columns="point", values="is_success", aggfunc="first").astype(bool)
    first = pairs.iloc[:, [0]].to_numpy()
    flipped = pd.DataFrame({"lost": (first & ~pairs).sum(), "gained": (~first & pairs).sum()})
    print(flipped)
    return flipped


if __name__ == "__main__":
    main(Path(sys.argv[1]))
