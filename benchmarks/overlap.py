"""How much of computing and exchanging happens at the same time, between three hosts with slow links.

The hosts are network namespaces of this machine, see hosts.py, with one rank each. A step is timed as it is; with its
large messages left out, which is computing alone; and both again with so few samples that computing is nearly nothing:
the difference of these two is exchanging alone. Hidden is the part of the smaller one that the whole step doesn't take.
The hosts share this machine's cores, which also do what network cards would do for hosts of their own: where all cores
are busy all the time in the whole step, no more can be hidden.
Run, as root: python benchmarks/overlap.py [--rate 500] [--rows 2048] [--quick] [--json FILE]
"""

import argparse
import os
from collections.abc import Mapping

from hosts import hosts, missing
from programs import Program, ranks, result_of
from report import Figure, Report, figure, finish, parser_of

HOSTS = 3
NETWORKS = ("28-512-512-512-512-512-512-512-2", "784-1024-1024-10")
GOAL = 0.8


def figures(subject: str, turns: Mapping[str, list[tuple[float, float]]]) -> list[Figure]:
    """turns: of each round, by side: a step's milliseconds, and the share of the cores that was busy."""
    step_ms = {side: [ms for ms, _ in of_side] for side, of_side in turns.items()}
    exchange = [both - compute for both, compute in zip(step_ms["few, both"], step_ms["few, compute"], strict=True)]
    compute, both = step_ms["compute"], step_ms["both"]
    hidden = [(c + e - b) / min(c, e) for c, e, b in zip(compute, exchange, both, strict=True)]
    return [
        figure(subject, "compute, ms", compute),
        figure(subject, "exchange, ms", exchange),
        figure(subject, "both, ms", both),
        figure(subject, "both, cores busy", [busy for _, busy in turns["both"]]),
        figure(subject, "compute, cores busy", [busy for _, busy in turns["compute"]]),
        figure(subject, "hidden", hidden, GOAL),
    ]


def measure(options: argparse.Namespace, network: str) -> dict[str, list[tuple[float, float]]]:
    """The turns of each side. The ranks share all cores of this machine."""
    arguments = ("overlap_distprop.py", options.rows, options.rounds, network)
    with hosts(HOSTS, options.rate) as machines:
        started = ranks(HOSTS, *arguments, hosts=machines.names)
        command = tuple(machines.on(machines.names[0], started.arguments))
        environment = {**started.environment, **machines.environment}
        program = Program(command, environment, HOSTS, pinned=False)
        found: dict[str, list[tuple[float, float]]] = result_of(program, sorted(os.sched_getaffinity(0)))
    return found


def main() -> None:
    parser = parser_of(__doc__, "two rounds, an eighth of the rows at eight times the rate")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--rate", type=float, default=500.0, help="of a link, Mbit/s in each direction")
    parser.add_argument("--rows", type=int, default=2048, help="of a minibatch, on each host")
    parser.add_argument("--networks", nargs="+", default=NETWORKS)
    options = parser.parse_args()
    if options.quick:
        options.rounds, options.rate, options.rows = 2, 8 * options.rate, options.rows // 8
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
