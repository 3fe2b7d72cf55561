"""Measure the time to build the table of each sampler's coefficients, which admission needs.

    python bench/sampler_tables.py [--steps 50] [--rounds 20]

The output is the shortest time of all rounds, on one core. Repeated tables are cached and cost nothing.
Goal: below 5 ms for 50 steps, for every sampler.
"""

import argparse
import time

from tintype.service.numerics import SAMPLERS, Diffusion, Incompatible, make_table

SD = {
    "_class_name": "EulerDiscreteScheduler",
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "beta_end": 0.012,
}


def seconds(diffusion: Diffusion, steps: int, rounds: int, sampler: str, schedule: str) -> float:
    """Return the shortest time to build one table."""
    times = []
    for _ in range(rounds):
        begin = time.perf_counter()
        make_table(diffusion, steps, sampler=sampler, schedule=schedule)
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    """Print milliseconds for every sampler with the slowest schedules."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--rounds", type=int, default=20)
    args = parser.parse_args()
    diffusion = Diffusion.from_config(SD)
    for sampler in SAMPLERS:
        for schedule in ("normal", "karras", "beta"):
            try:
                took = seconds(diffusion, args.steps, args.rounds, sampler, schedule)
            except Incompatible:
                continue
            print(f"{took * 1e3:6.2f} ms  {sampler} {schedule}")


if __name__ == "__main__":
    main()
