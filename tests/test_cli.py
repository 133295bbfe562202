"""The command line: what it says and the code it ends with, for what is right and for what is wrong."""

import errno
import json
import re
import sys

import pytest

from distprop import cli
from distprop.run_directory import RunDirectory

CONFIG = """
[data]
train = "train.csv"

[network]
layers = [{ type = "dense", units = 3 }]
loss = { type = "softmax_cross_entropy" }

[training]
batch_size = 16
shards = 4
epochs = 2
"""
ROWS = "".join(f"{n % 7},{n % 5},{'abc'[n % 3]}\n" for n in range(50))


@pytest.fixture
def config(tmp_path):
    """A small configuration with its data, in the folder that commands run in."""
    (tmp_path / "train.csv").write_text("x,y,target\n" + ROWS)
    (tmp_path / "small.toml").write_text(CONFIG)
    return tmp_path / "small.toml"


@pytest.fixture(autouse=True)
def no_mpi_around(monkeypatch):
    for name in ("OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK"):
        monkeypatch.delenv(name, raising=False)


COMMANDS = [
    "train",
    "resume",
    "slurm",
    "kubernetes",
    "compose",
    "evaluate",
    "predict",
    "show",
    "check",
    "digest",
    "doctor",
]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help(command, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([command, "--help"])
    assert caught.value.code == 0 and f"distprop {command}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["trian"], "did you mean 'train'?"),
        (["xyzzy"], "the commands are train, resume"),
        ([], "required: COMMAND"),
        (["train"], "required: CONFIG"),
        (["train", "c.toml", "-n", "0"], "'0' is not a whole number of at least 1"),
        (["train", "c.toml", "-n", "two"], "'two' is not a whole number"),
        (["train", "c.toml", "--ranks", "-3"], "'-3'"),
        (["train", "c.toml", "--or-resume"], "--or-resume needs --run"),
        (["train", "c.toml", "--hosts", "a", "--hostfile", "f"], "not allowed with"),
        (["train", "c.toml", "--hosts", "a:x"], "'a:x' is not a host"),
        (["train", "c.toml", "--hostfile", "/no/such/file"], "can't read this hostfile: No such file"),
        (["train", "c.toml", "--sets", "a=1"], "--sets"),
        (["train", "/no/such/file.toml"], "/no/such/file.toml"),
        (["resume", "/no/such/run"], "/no/such/run: there is no such folder"),
        (["resume", "/tmp"], "holds no run"),
        (["predict", "run", "data.csv"], "required: -o"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(arguments, part, capsys):
    assert cli.main(arguments) == 2
    output = capsys.readouterr()
    assert part in output.err and output.err.count("\n") == 1 and output.out == ""


def test_a_dry_run_prints_the_command_and_makes_nothing(config, distprop):
    done = distprop("train", "small.toml", "-n", "3", "--dry-run", "--set", "training.epochs=1")
    assert done.returncode == 0 and done.stderr == ""
    assert done.stdout.startswith("env OMP_NUM_THREADS=1 ") and " -n 3 " in done.stdout
    assert done.stdout.endswith("-m distprop.cli train small.toml --run runs/small --set training.epochs=1\n")
    assert not (config.parent / "runs").exists()


def test_what_a_dry_run_prints_can_be_run_by_a_shell(config, distprop, run_command):
    printed = distprop("train", "small.toml", "-n", "2", "--dry-run", "--run", "it's here", "--set", "seed=3").stdout
    done = run_command(["sh", "-c", printed])
    assert done.returncode == 0 and "epoch 2/2" in done.stdout, done.stderr
    digest = distprop("digest", "it's here").stdout
    again = run_command(["sh", "-c", distprop("resume", "it's here", "-n", "1", "--dry-run").stdout])
    assert again.returncode == 0 and digest.strip() in again.stdout, again.stderr


def test_without_a_number_of_ranks_the_configuration_says_it(config, distprop):
    done = distprop("train", "small.toml", "--dry-run", "--set", "launch.ranks=4", "--set", "launch.hosts=a:3,b:1")
    assert " -n 4 " in done.stdout and " a:3,b:1 " in done.stdout


def test_without_any_number_there_are_at_most_as_many_ranks_as_shards(config, distprop):
    done = distprop("train", "small.toml", "--dry-run", "--hosts", "a:64")
    assert " -n 4 " in done.stdout


def test_more_ranks_than_shards_is_an_error_that_names_the_cure(config, distprop):
    done = distprop("train", "small.toml", "-n", "5")
    assert done.returncode == 2 and "--set training.shards=5" in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.parametrize(("row", "code"), [("n/a,1,a", 3), ("1,2", 3)])
def test_a_mistake_in_the_data_is_said_before_any_rank_starts(config, distprop, row, code):
    (config.parent / "train.csv").write_text("x,y,target\n" + ROWS + row + "\n")
    done = distprop("train", "small.toml", "-n", "2")
    assert done.returncode == code and "line 52" in done.stderr and done.stderr.count("\n") == 1
    assert not (config.parent / "runs").exists()


def test_what_may_not_be_read_is_one_line(config, capsys, monkeypatch):
    def refuse(*_):
        raise PermissionError(errno.EACCES, "Permission denied", "/secret/config.toml")

    monkeypatch.setattr("distprop.inspection.digest", refuse)
    assert cli.main(["digest", "/secret"]) == 2
    assert capsys.readouterr().err == "/secret/config.toml: Permission denied\n"


def test_check_lists_all_mistakes_at_once(config, distprop):
    config.write_text(CONFIG.replace("epochs = 2", "epocs = 2").replace("units = 3", "units = -3"))
    done = distprop("check", "small.toml")
    assert done.returncode == 2 and done.stderr.count("\n") == 2 and "Traceback" not in done.stderr
    assert all(line.startswith("small.toml:") for line in done.stderr.splitlines())


def test_check_of_a_right_configuration_says_so(config, distprop):
    done = distprop("check", "small.toml")
    assert done.returncode == 0 and done.stdout == "small.toml: no mistakes\n"


def test_a_closed_pipe_is_quiet(run_command):
    done = run_command(["sh", "-c", f"'{sys.executable}' -m distprop.cli schema | head -n 1"])
    assert done.stdout == "{\n" and done.stderr == ""


@pytest.mark.parametrize("redirection", [">&-", "<&- >&- 2>&-", "| true", ">/dev/full", ">/dev/full 2>&1"])
def test_training_goes_on_wherever_its_words_go(config, run_command, redirection):
    command = f"'{sys.executable}' -m distprop.cli train small.toml -n 2 --run run {redirection}"
    done = run_command(["bash", "-o", "pipefail", "-c", command])
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert RunDirectory(config.parent / "run").read_status()["phase"] == "done"


@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [(">&-", 0, ""), (">/dev/full", 2, "standard output, or a file: No space left on device\n")],
)
def test_an_answer_that_can_not_be_written_is_no_crash(config, run_command, redirection, code, said):
    done = run_command(["sh", "-c", f"'{sys.executable}' -m distprop.cli check small.toml {redirection}"])
    assert (done.returncode, done.stdout, done.stderr) == (code, "", said)


def test_a_character_that_the_terminal_does_not_have_is_shown_by_its_number(config, distprop):
    config.rename(config.with_name("größe.toml"))
    done = distprop("check", "größe.toml", environment={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stdout, done.stderr) == (0, "gr\\xf6\\xdfe.toml: no mistakes\n", "")


def test_the_schema_is_json(distprop):
    assert json.loads(distprop("schema").stdout)["type"] == "object"


def test_the_version_is_that_of_the_package(distprop):
    from importlib.metadata import version

    assert distprop("--version").stdout == f"distprop {version('distprop')}\n"


def test_the_doctor_finds_nothing_wrong_where_tests_run(distprop):
    done = distprop("doctor")
    assert "2 ranks answered" in done.stdout
    assert done.returncode == 0, done.stdout


def test_the_doctor_looks_at_hosts_and_measures_messages(distprop):
    done = distprop("doctor", "--hosts", "localhost:2")
    assert done.returncode == 0, done.stdout
    assert "ok    host      localhost answers, and is like this one" in done.stdout
    assert re.search(r"ok    messages  on \S+: [\d,]+ µs, [\d,]+ MB/s each way\n", done.stdout)
    wrong = distprop("doctor", "--hosts", "localhost:2,no.such.host.invalid:1")
    assert wrong.returncode == 1 and re.search(
        r"^wrong host      no\.such\.host\.invalid: ", wrong.stdout, re.MULTILINE
    )
    assert "messages" not in wrong.stdout


def test_interfaces_without_other_hosts_are_refused(config, distprop):
    for command in (["train", "small.toml", "-n", "2"], ["doctor"]):
        done = distprop(*command, "--interface", "lo")
        assert done.returncode == 2 and "--interface is about messages between hosts" in done.stderr
    assert not (config.parent / "runs").exists()


def test_the_doctor_names_what_is_wrong_and_the_cure(distprop, tmp_path):
    (tmp_path / "file").write_text("")
    done = distprop("doctor", environment={"DISTPROP_CACHE": str(tmp_path / "file" / "cache")})
    assert done.returncode == 1
    wrong = [line for line in done.stdout.splitlines() if line.startswith("wrong")]
    assert len(wrong) == 1 and "set DISTPROP_CACHE to a folder that can be written" in wrong[0]


def test_training_evaluating_and_predicting_from_the_command_line(config, distprop):
    trained = distprop("train", "small.toml", "-n", "2")
    assert trained.returncode == 0, trained.stderr
    lines = trained.stdout.splitlines()
    assert sum(line.startswith("epoch") for line in lines) == 2
    digest = next(line.split()[1] for line in lines if line.startswith("digest"))
    assert distprop("digest", "runs/small").stdout == digest + "\n"
    assert json.loads(distprop("evaluate", "runs/small", "--data", "train.csv", "--json").stdout)["loss"] > 0
    predicted = distprop("predict", "runs/small", "train.csv", "-o", "out.csv")
    assert predicted.returncode == 0 and predicted.stdout == "out.csv: 50 predictions\n"
    assert len((config.parent / "out.csv").read_text().splitlines()) == 51
    before = (config.parent / "train.csv").read_text()
    onto_itself = distprop("predict", "runs/small", "train.csv", "-o", "./train.csv")
    assert onto_itself.returncode == 2 and "would replace the data" in onto_itself.stderr
    assert (config.parent / "train.csv").read_text() == before
    alone = distprop("evaluate", "runs/small", "--data", "train.csv", "--weights", "train.csv")
    assert alone.returncode == 2 and "--weights needs --targets" in alone.stderr
    done = distprop("resume", "runs/small")
    assert done.returncode == 0 and done.stdout.startswith("runs/small: this run is done\n") and digest in done.stdout
    assert distprop("train", "small.toml", "--run", "runs/small", "--or-resume").stdout == done.stdout
    refused = distprop("train", "small.toml", "--run", "runs/small")
    assert refused.returncode == 2 and "distprop resume runs/small" in refused.stderr


def test_mpirun_started_by_somebody_else_trains_the_same_model(config, distprop, run_command, mpirun):
    program = [sys.executable, "-m", "distprop.cli", "train", "small.toml", "--run", "theirs"]
    done = run_command([*mpirun(2), *program])
    assert done.returncode == 0, done.stderr
    assert distprop("train", "small.toml", "--run", "ours").returncode == 0
    assert distprop("digest", "ours").stdout == distprop("digest", "theirs").stdout != ""


@pytest.mark.parametrize(
    ("ranks", "option", "part"),
    [
        (5, "--set=seed=1", "5 ranks, but a minibatch has only 4 shards"),
        (2, "--set=network.layers.0.units=9", "set units = "),
        (2, "--dry-run", "this process is a rank of an mpirun already; leave out --dry-run"),
        (2, "-n3", "this process is a rank of an mpirun already; leave out -n"),
    ],
)
def test_under_mpirun_a_mistake_makes_no_run_directory(config, run_command, mpirun, ranks, option, part):
    program = [sys.executable, "-m", "distprop.cli", "train", "small.toml", "--run", "theirs", option]
    done = run_command([*mpirun(ranks), *program], folder=config.parent)
    assert done.returncode != 0 and part in done.stderr and "Traceback" not in done.stderr
    assert not (config.parent / "theirs").exists()
