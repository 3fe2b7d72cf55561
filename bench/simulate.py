"""Simulate 1 to 1,000 nodes behind gateways, from measured service times.

    python bench/simulate.py --measure                 # measure this machine, and write bench/capacity/measured.json
    python bench/simulate.py --check                   # compare with two real services behind a real gateway
    python bench/simulate.py                           # the tables below
    python bench/simulate.py --plot docs/images/capacity.svg --keep results.jsonl
    python bench/simulate.py --assume --load-seconds 8 # an assumed accelerator instead of the measured processor

The queues, the batches and the models' minimum residency are the engine's own code, on simulated time. The tables:
balancing rules by number of nodes, gateways, refresh of the gateways' knowledge, memory, and arrivals in bursts.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from capacity import tables
from capacity.plot import write_plot
from capacity.profiles import Profile, read_profile, write_profile

MEASURED = Path(__file__).parent / "capacity" / "measured.json"


def main(argv: list[str] | None = None) -> int:
    """Measure, compare with reality, or print tables."""
    args = parse_arguments(argv)
    if args.measure:
        from capacity.measuring import measure  # noqa: PLC0415 - starts processes

        write_profile(measure(), args.profile)
        print(args.profile.read_text("utf-8"))
        return 0
    profile = assumed(args) if args.assume else read_profile(args.profile)
    print(f"Times: {profile.source}.{' ASSUMED, not measured.' if profile.assumed else ''} {profile.notes}")
    if args.check:
        tables.print_check(profile, args.images or 150, args.rule)
        return 0
    runner = tables.Runner(profile, args.images or 100, args.keep)
    if args.plot:
        write_plot(runner, args.plot)
        return 0
    for name in args.tables or tables.TABLES:
        tables.TABLES[name](runner)
    return 0


def parse_arguments(argv: list[str] | None) -> argparse.Namespace:
    """Return the command line's flags."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", action="store_true", help="measure this machine")
    parser.add_argument("--check", action="store_true", help="compare with real services")
    parser.add_argument("--profile", type=Path, default=MEASURED, help="file of service times")
    parser.add_argument("--rule", default=tables.LANDED, help="balancing rule of the real gateway")
    parser.add_argument("--plot", type=Path, help="SVG file to write")
    parser.add_argument("--images", type=int, default=0, help="images per node, 1500 to 40000 in all (default: 100)")
    parser.add_argument("--keep", type=Path, help="file in which results are kept, and read from the next time")
    parser.add_argument("--tables", nargs="*", choices=tables.TABLES, help="tables to print (default: all)")
    assume = parser.add_argument_group("assumed times, in seconds")
    assume.add_argument("--assume", action="store_true", help="use the times below instead of a file")
    assume.add_argument("--calls", type=float, nargs=4, default=(0.03, 0.045, 0.08, 0.15), help="of 1, 2, 4, 8 rows")
    assume.add_argument("--encode-seconds", type=float, default=0.02)
    assume.add_argument("--decode-seconds", type=float, default=0.05)
    assume.add_argument("--load-seconds", type=float, default=8.0)
    assume.add_argument("--gateway-seconds", type=float, default=0.004)
    return parser.parse_args(argv)


def assumed(args: argparse.Namespace) -> Profile:
    """Return a profile of assumed times."""
    return Profile(
        source="assumed times of an accelerator",
        calls=dict(zip((1, 2, 4, 8), args.calls, strict=True)),
        encode=args.encode_seconds,
        decode=args.decode_seconds,
        load=args.load_seconds,
        gateway=args.gateway_seconds,
        assumed=True,
    )


if __name__ == "__main__":
    sys.exit(main())
