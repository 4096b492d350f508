"""`python -m ray_eval` is `ray-eval`."""

from ray_eval.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
