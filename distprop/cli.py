"""The command line. Nothing heavy is imported before a command needs it, so `distprop --help` answers at once."""

import argparse
import difflib
import json
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from distprop.environment import rank_by_environment
from distprop.errors import CheckpointError, DistpropError, UsageError, out_of_memory
from distprop.report import discard

TIMELINE = 20  # steps

Command = Callable[[argparse.Namespace], int]
Commands = Any  # argparse keeps the type of add_subparsers() private


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    _mend_streams()
    try:
        options = _parse(sys.argv[1:] if arguments is None else arguments)
        command: Command = options.command
        code = command(options)
        sys.stdout.flush()
        return code
    except DistpropError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except MemoryError as error:
        print(out_of_memory(error), file=sys.stderr)
        return 1
    except BrokenPipeError:
        discard(sys.stdout)
        return 0
    except OSError as error:
        print(f"{error.filename or 'standard output, or a file'}: {error.strerror}", file=sys.stderr)
        if error.filename is None:
            discard(sys.stdout)
        return 2


def _mend_streams() -> None:
    """What a shell has closed (>&-) goes nowhere; a character that a terminal doesn't have is shown by its number."""
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if stream is None:
            if os.open(os.devnull, os.O_RDWR) == number:  # else the first file that is opened would get this number
                setattr(sys, name, os.fdopen(number, "r" if number == 0 else "w", encoding="utf-8"))
        elif stream.errors == "strict" and name == "stdout":
            stream.reconfigure(errors="backslashreplace")


class _Parser(argparse.ArgumentParser):
    """argparse with errors of one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help")


class _Version(argparse.Action):
    """Looks the version up only when it is asked for: importlib.metadata is slow."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version

        print(f"distprop {version('distprop')}")
        parser.exit()


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="distprop", description="Train neural networks data-parallel over MPI on CPUs.", allow_abbrev=False
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    _add_training(commands)
    _add_clusters(commands)
    _add_use(commands)
    _add_questions(commands)
    _suggest(arguments, list(commands.choices))
    return parser.parse_args(arguments)


def _suggest(arguments: Sequence[str], known: list[str]) -> None:
    """UsageError for a first word that is no command, with the nearest one."""
    word = arguments[0] if arguments else "--help"
    if word.startswith("-") or word in known:
        return
    near = difflib.get_close_matches(word, known, n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"the commands are {', '.join(known)}"
    raise UsageError(f"distprop: there is no command '{word}'; {hint}")


def _add(commands: Commands, name: str, command: Command, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text, allow_abbrev=False)
    parser.set_defaults(command=command)
    return parser


def _add_training(commands: Commands) -> None:
    train = _add(commands, "train", _train, "Train the network of a configuration file.")
    train.add_argument("config", type=Path, metavar="CONFIG", help="configuration, TOML")
    train.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/<name of CONFIG>)")
    train.add_argument("--or-resume", action="store_true",
                       help="continue the run that is in --run, as it was configured, if there is one")  # fmt: skip
    _add_overrides(train)
    train.add_argument("--timeline", dest="overrides", action="append_const", const=f"training.timeline={TIMELINE}",
                       help=f"record every call of the first {TIMELINE} steps in RUN/timeline.json")  # fmt: skip
    _add_place(train)
    resume = _add(
        commands, "resume", _resume, "Continue a run that was stopped, exactly where it was, on any number of ranks."
    )
    resume.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    _add_place(resume)
    _add_launch(train, resume)
    again = _add(commands, "replay", _replay, "Compute steps of a run again, and compare digests of the parameters.")
    again.add_argument("run", type=Path, metavar="RUN", help="folder of the run, which stays as it is")
    again.add_argument(
        "--steps", type=_steps, required=True, metavar="A:B", help="the digests recorded after A to B steps"
    )
    again.add_argument("--json", action="store_true", help="print one JSON object")
    _add_place(again)
    again.set_defaults(max_restarts=None, min_ranks=None)


def _add_launch(*parsers: argparse.ArgumentParser) -> None:
    for parser in parsers:
        parser.add_argument("--max-restarts", type=_count_or_none, metavar="N",
                            help="how often ranks that have died or hung are started again (default: 3)")  # fmt: skip
        parser.add_argument("--min-ranks", type=_count, metavar="N",
                            help="how many must be left to go on when hosts are lost (default: 1)")  # fmt: skip
        parser.add_argument(
            "--dry-run", action="store_true", help="print the mpirun command that does the same, and stop"
        )


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-n", "--ranks", type=_count, metavar="N", help="number of ranks (default: one a core)")
    hosts = parser.add_mutually_exclusive_group()
    hosts.add_argument("--hosts", metavar="A:2,B:2", help="hosts and how many ranks each takes")
    hosts.add_argument("--hostfile", type=Path, metavar="FILE", help="the same, one host a line: 'a slots=2' or 'a:2'")
    _add_interface(parser)


def _add_interface(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--interface", metavar="NAME[,NAME]",
                        help="network interfaces between hosts (default: all but docker0 and its like)")  # fmt: skip


def _add_clusters(commands: Commands) -> None:
    slurm = _add(commands, "slurm", _slurm, "Print or submit a Slurm job that trains and goes on after its time limit.")
    slurm.add_argument("config", type=Path, metavar="CONFIG", help="configuration, TOML")
    slurm.add_argument("--nodes", type=_count, default=1, metavar="N", help="number of nodes (default: 1)")
    slurm.add_argument("--ntasks-per-node", type=_count, required=True, metavar="N", help="ranks on each node")
    slurm.add_argument("--time", metavar="H:MM:SS", help="time limit of one start (default: the partition's)")
    slurm.add_argument("--stop-before", type=_count, default=120, metavar="S",
                       help="seconds before the limit at which training stops (default: 120)")  # fmt: skip
    slurm.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/<CONFIG>-<job>)")
    slurm.add_argument("--job-name", metavar="NAME", help="name of the job (default: that of CONFIG)")
    slurm.add_argument("--sbatch", action="append", default=[], metavar="NAME=VALUE",
                       help="any other option of sbatch, such as --sbatch partition=short")  # fmt: skip
    _add_overrides(slurm)
    slurm.add_argument("--submit", action="store_true", help="submit the job instead of printing its script")

    pods = _add(
        commands, "kubernetes", _kubernetes, "Print an MPIJob for Kubernetes that trains and goes on after failures."
    )
    _add_containers(pods)
    pods.add_argument("--name", metavar="NAME", help="name of the job (default: that of CONFIG)")
    pods.add_argument("--claim", required=True, metavar="NAME", help="claim of the volume that all pods share: /work")
    pods.add_argument("--memory", type=_memory, default="4Gi", metavar="SIZE", help="memory of a worker (default: 4Gi)")
    pods.add_argument("--restarts", type=_count, default=20, metavar="N", help="starts after failures (default: 20)")

    compose = _add(commands, "compose", _compose, "Print a Compose file that trains on several containers.")
    _add_containers(compose)
    compose.add_argument("--key", type=Path, default=Path("distprop_key"), metavar="FILE",
                         help="private key of this deployment (default: distprop_key)")  # fmt: skip


def _add_containers(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", type=Path, metavar="CONFIG", help="configuration, below the current folder")
    parser.add_argument("--image", default="distprop", help="image, built from docker/Dockerfile (default: distprop)")
    parser.add_argument("--workers", type=_count, required=True, metavar="N", help="number of workers")
    parser.add_argument("--slots", type=_count, default=1, metavar="N", help="ranks of each worker (default: 1)")
    parser.add_argument("--run", type=Path, metavar="DIR", help="folder of the run (default: runs/<name of CONFIG>)")
    _add_overrides(parser)


def _add_overrides(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
                        help="override one value, such as --set training.epochs=3")  # fmt: skip


def _add_use(commands: Commands) -> None:
    evaluate = _add(commands, "evaluate", _evaluate, "Measure a trained model on a data file.")
    evaluate.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    evaluate.add_argument("--data", type=Path, required=True, metavar="FILE", help="data with targets")
    evaluate.add_argument(
        "--targets", type=Path, metavar="FILE", help="targets, if --data holds features alone (.npy, IDX)"
    )
    evaluate.add_argument("--weights", type=Path, metavar="FILE", help="weights of the samples; needs --targets")
    evaluate.add_argument("--json", action="store_true", help="print one JSON object")
    predict = _add(commands, "predict", _predict, "Apply a trained model to a data file.")
    predict.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    predict.add_argument("data", type=Path, metavar="FILE", help="data; targets may be absent")
    predict.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="predictions, .csv or .npy")


def _add_questions(commands: Commands) -> None:
    show = _add(commands, "show", _show, "Print layers, shapes, parameter counts and the program of kernel calls.")
    show.add_argument("subject", type=Path, metavar="CONFIG|RUN", help="configuration file or folder of a run")
    check = _add(commands, "check", _check, "List all mistakes of a configuration file.")
    check.add_argument("config", type=Path, metavar="CONFIG", help="configuration, TOML")
    _add_overrides(check)
    digest = _add(commands, "digest", _digest, "Print the SHA-256 of a run's parameters.")
    digest.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    verify = _add(commands, "verify", _verify, "Check that the files of a run are as they were written.")
    verify.add_argument("run", type=Path, metavar="RUN", help="folder of the run")
    verify.add_argument("--json", action="store_true", help="print one JSON object")
    plan = _add(commands, "plan", _plan, "Predict what a step takes on more ranks and hosts, and recommend how many.")
    plan.add_argument("config", type=Path, metavar="CONFIG", help="configuration, TOML")
    plan.add_argument("--ranks", type=_range, default=(1, 64), metavar="A:B", help="numbers of ranks (default: 1:64)")
    hosts = plan.add_mutually_exclusive_group()
    hosts.add_argument("--hosts", metavar="A:2,B:2", help="hosts to measure on, and how many ranks each takes")
    hosts.add_argument("--hostfile", type=Path, metavar="FILE", help="the same, one host a line: 'a slots=2' or 'a:2'")
    hosts.add_argument("--ranks-per-host", type=_count, metavar="N", help="without them (default: one a core of this)")
    _add_interface(plan)
    plan.add_argument("--latency-us", type=_positive, metavar="X",
                      help="of a message between hosts (default: measured, or 30)")  # fmt: skip
    plan.add_argument("--bandwidth-gbit", type=_positive, metavar="X",
                      help="of a host's link, Gbit/s each way (default: measured, or 9.2)")  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print one JSON object")
    _add_overrides(plan)
    doctor = _add(commands, "doctor", _doctor, "Say what is wrong on this machine, or on other hosts, and the cure.")
    doctor.add_argument("--hosts", metavar="A:2,B:2", help="hosts to look at too, and how many ranks each would take")
    _add_interface(doctor)
    _add(commands, "schema", _schema, "Print the JSON Schema of configuration files, for editors.")


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of at least 1")
    return int(text)


def _count_or_none(text: str) -> int:
    return 0 if text == "0" else _count(text)


def _steps(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    if not (colon and first.isascii() and first.isdigit() and last.isascii() and last.isdigit()) or int(first) > int(
        last
    ):
        raise argparse.ArgumentTypeError(f"'{text}' is not of the form A:B with A <= B, such as 0:500")
    return int(first), int(last)


def _range(text: str) -> tuple[int, int]:
    first, colon, last = text.partition(":")
    ends = _count(first), _count(last if colon else first)
    if ends[0] > ends[1]:
        raise argparse.ArgumentTypeError(f"'{text}' is not a range such as 1:64")
    return ends


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number above 0")
    return value


def _memory(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d*[KMGT]i?", text, re.ASCII):
        raise argparse.ArgumentTypeError(f"'{text}' is not a size such as 4Gi or 500M")
    return text


def _train(options: argparse.Namespace) -> int:
    if options.or_resume:
        if options.run is None:
            raise UsageError("distprop train: --or-resume needs --run: which run shall be continued?")
        if (options.run / "config.toml").exists():
            return _resume(options)
    if rank_by_environment() is not None:  # then an mpirun is there already
        from distprop import worker

        with worker.told_once():
            _refuse_place(options)
        return worker.train(options.config, options.overrides, options.run)
    from distprop.launch import start

    return start.train(options.config, options.overrides, options.run, _place(options), dry_run=options.dry_run)


def _resume(options: argparse.Namespace) -> int:
    if rank_by_environment() is not None:  # then an mpirun is there already
        from distprop import worker

        with worker.told_once():
            _refuse_place(options)
        return worker.resume(options.run)
    from distprop.launch import start

    return start.resume(options.run, _place(options), dry_run=options.dry_run)


def _replay(options: argparse.Namespace) -> int:
    if rank_by_environment() is not None:
        from distprop import worker

        with worker.told_once():
            raise UsageError(
                "distprop replay starts its ranks itself: start it outside of an mpirun, with -n or --hosts"
            )
    from distprop.launch import start

    return start.replay(options.run, options.steps, _place(options), as_json=options.json)


def _refuse_place(options: argparse.Namespace) -> None:
    """UsageError for what only a launcher can do: under an mpirun, the ranks are there already."""
    given = {
        "-n": options.ranks,
        "--hosts": options.hosts,
        "--hostfile": options.hostfile,
        "--interface": options.interface,
        "--min-ranks": options.min_ranks,
        "--max-restarts": options.max_restarts is not None,
        "--dry-run": options.dry_run,
    }
    for name, value in given.items():
        if value:
            raise UsageError(f"distprop: this process is a rank of an mpirun already; leave out {name}")


def _place(options: argparse.Namespace) -> Any:
    from distprop.launch.hosts import Place

    return Place(options.ranks, _hosts(options), options.max_restarts, options.min_ranks, _interfaces(options))


def _hosts(options: argparse.Namespace) -> Any:
    from distprop.launch.hosts import parse_hostfile, parse_hosts

    if options.hostfile:
        return parse_hostfile(options.hostfile)
    return parse_hosts(options.hosts) if options.hosts else ()


def _interfaces(options: argparse.Namespace) -> tuple[str, ...]:
    from distprop.heartbeat.interfaces import parse_interfaces

    return parse_interfaces(options.interface) if options.interface is not None else ()


def _slurm(options: argparse.Namespace) -> int:
    from distprop.launch.clusters import check_ranks
    from distprop.launch.slurm import Job, sbatch_script, submit

    check_ranks(options.config, options.overrides, options.nodes * options.ntasks_per_node)
    name = options.job_name or options.config.stem
    job = Job(name, options.nodes, options.ntasks_per_node, options.time, options.stop_before, tuple(options.sbatch))
    script = sbatch_script(job, options.config, options.overrides, options.run, Path.cwd(), sys.executable)
    if not options.submit:
        print(script, end="")
        return 0
    number = submit(script)
    print(f"job {number}: {options.run or f'runs/{options.config.stem}-{number}'}")
    return 0


def _kubernetes(options: argparse.Namespace) -> int:
    from distprop.launch.clusters import check_ranks, path_inside
    from distprop.launch.kubernetes import Pods, mpi_job

    check_ranks(options.config, options.overrides, options.workers * options.slots)
    pods = Pods(options.name or options.config.stem, options.image, options.claim, options.workers, options.slots,
                options.memory, options.restarts)  # fmt: skip
    run = options.run or Path("runs") / options.config.stem
    print(mpi_job(pods, path_inside(options.config), options.overrides, path_inside(run)), end="")
    return 0


def _compose(options: argparse.Namespace) -> int:
    from distprop.launch.clusters import check_ranks, path_inside
    from distprop.launch.compose import Containers, compose_file

    check_ranks(options.config, options.overrides, options.workers * options.slots)
    folder, key = str(Path.cwd()), str(options.key.absolute())
    place = Containers(options.image, folder, key, options.workers, options.slots)
    run = options.run or Path("runs") / options.config.stem
    print(compose_file(place, path_inside(options.config), options.overrides, path_inside(run)), end="")
    return 0


def _evaluate(options: argparse.Namespace) -> int:
    from distprop.inspection import evaluate, evaluation_text

    if options.weights and not options.targets:
        raise UsageError("distprop evaluate: --weights needs --targets; a table has its weights in a column of its own")
    result = evaluate(options.run, options.data, options.targets, options.weights)
    print(json.dumps(result) if options.json else evaluation_text(result))
    return 0


def _predict(options: argparse.Namespace) -> int:
    from distprop.inspection import predict
    from distprop.report import counted

    rows = predict(options.run, options.data, options.output)
    print(f"{options.output}: {counted(rows, 'prediction')}")
    return 0


def _show(options: argparse.Namespace) -> int:
    from distprop.inspection import describe

    print(describe(options.subject))
    return 0


def _check(options: argparse.Namespace) -> int:
    from distprop.config import check

    problems = check(options.config, options.overrides)
    if problems:
        print(*problems, sep="\n", file=sys.stderr)
    else:
        print(f"{options.config}: no mistakes")
    return 2 if problems else 0


def _digest(options: argparse.Namespace) -> int:
    from distprop.inspection import digest

    print(digest(options.run))
    return 0


def _verify(options: argparse.Namespace) -> int:
    from distprop.verify import report, verify

    findings = verify(options.run)
    good = all(finding.problem is None for finding in findings)
    print(json.dumps({"good": good, "files": [vars(one) for one in findings]}) if options.json else report(findings))
    return 0 if good else CheckpointError.exit_code


def _plan(options: argparse.Namespace) -> int:
    from distprop.launch.plan import Question, plan

    first, last = options.ranks
    latency_s = options.latency_us and options.latency_us * 1e-6
    bytes_per_s = options.bandwidth_gbit and options.bandwidth_gbit * 1e9 / 8
    question = Question(
        first, last, _hosts(options), _interfaces(options), options.ranks_per_host, latency_s, bytes_per_s
    )
    return plan(options.config, options.overrides, question, as_json=options.json)


def _doctor(options: argparse.Namespace) -> int:
    from distprop.launch.doctor import doctor
    from distprop.launch.hosts import parse_hosts

    if options.interface is not None and not options.hosts:
        raise UsageError("distprop doctor: --interface is about messages between hosts; give --hosts too")
    return doctor(parse_hosts(options.hosts) if options.hosts else (), _interfaces(options))


def _schema(options: argparse.Namespace) -> int:
    from distprop.config import schema

    print(json.dumps(schema(), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
