"""How much of computing and exchanging happens at the same time, between three hosts with slow links.

The hosts are network namespaces of this machine, see hosts.py, with one rank each. A step is timed as it is; with its
large messages left out, which is computing alone; and both again with so few samples that computing is nearly nothing:
the difference of these two is exchanging alone. Hidden is the part of the smaller one that the whole step doesn't take.
Run, as root: python benchmarks/overlap.py [--rate 250] [--rows 2048] [--quick] [--json FILE]
"""

import argparse
import os
from collections.abc import Mapping

from hosts import Hosts, hosts, missing
from overlap_distprop import STEPS_PER_EPOCH
from programs import Program, ranks
from report import Figure, Report, figure, finish, parser_of
from rounds import median_seconds, started, take_rounds

HOSTS = 3
NETWORKS = ("784-1024-1024-10", "28-1024-1024-1024-2")
GOAL = 0.8


def program(machines: Hosts, form: str, rows: int, network: str) -> Program:
    """A rank on each host; all share this machine's cores."""
    started = ranks(HOSTS, "overlap_distprop.py", form, rows, network, hosts=machines.names)
    arguments = tuple(machines.on(machines.names[0], started.arguments))
    return Program(arguments, {**started.environment, **machines.environment}, HOSTS, pinned=False)


def figures(subject: str, step_ms: Mapping[str, list[float]]) -> list[Figure]:
    """step_ms: of each round, by side."""
    exchange = [both - compute for both, compute in zip(step_ms["few, both"], step_ms["few, compute"], strict=True)]
    compute, both = step_ms["compute"], step_ms["both"]
    hidden = [(c + e - b) / min(c, e) for c, e, b in zip(compute, exchange, both, strict=True)]
    return [
        figure(subject, "compute, ms", compute),
        figure(subject, "exchange, ms", exchange),
        figure(subject, "both, ms", both),
        figure(subject, "hidden", hidden, GOAL),
    ]


def measure(options: argparse.Namespace, network: str) -> dict[str, list[float]]:
    """Milliseconds a step of each round, by side."""
    cores = sorted(os.sched_getaffinity(0))
    with hosts(HOSTS, options.rate) as machines:
        programs = {
            "both": program(machines, "both", options.rows, network),
            "compute": program(machines, "compute", options.rows, network),
            "few, both": program(machines, "both", 1, network),
            "few, compute": program(machines, "compute", 1, network),
        }
        copies = {name: [(program, cores)] for name, program in programs.items()}
        with started(copies, options.seconds) as sides:
            turns = take_rounds(sides, options.rounds)
    return {name: [1e3 * median_seconds(turn) / STEPS_PER_EPOCH for turn in taken] for name, taken in turns.items()}


def main() -> None:
    parser = parser_of(__doc__, "two rounds of one epoch, an eighth of the rows at eight times the rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=5.0, help="of a turn")
    parser.add_argument("--rate", type=float, default=250.0, help="of a link, Mbit/s in each direction")
    parser.add_argument("--rows", type=int, default=2048, help="of a minibatch, on each host")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.seconds, options.rate, options.rows = 2, 0.1, 8 * options.rate, options.rows // 8
    if why := missing():
        raise SystemExit(f"there can be no hosts here: {why}")
    about = (
        f"A step on {HOSTS} hosts with links of {options.rate:.0f} Mbit/s, one rank each, on this machine's cores: "
        f"{options.rows} rows a rank, Adam. Median over rounds, and the range of their middle half."
    )
    found = [each for network in options.networks for each in figures(network, measure(options, network))]
    finish(Report("Overlap of computing and exchange between hosts", about, found), options)


if __name__ == "__main__":
    main()
