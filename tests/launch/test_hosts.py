"""Host lists: Open MPI's and MPICH's ways to write them, and mistakes."""

import pytest

from distprop.errors import UsageError
from distprop.launch.hosts import Host, Place, parse_hostfile, parse_hosts


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a:2,b:3", [Host("a", 2), Host("b", 3)]),
        ("node-1.cluster.org", [Host("node-1.cluster.org", 1)]),
        (" a:2 , 10.0.0.7:12 ", [Host("a", 2), Host("10.0.0.7", 12)]),
        ("[fe80::1]:2", [Host("[fe80::1]", 2)]),
    ],
)
def test_hosts_are_read(text, expected):
    assert parse_hosts(text) == tuple(expected)


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("a:0", "'a:0'"),
        ("a:", "'a:'"),
        ("a:-1", "'a:-1'"),
        ("a:²", "'a:²'"),
        ("a b:2", "'a b:2'"),
        ("a:2;b:2", "'a:2;b:2'"),
        ("--x:1", "'--x:1'"),
        ("a,,b", "''"),
        ("a:1,a:2", "twice"),
    ],
)
def test_mistakes_in_hosts_name_the_part(text, part):
    with pytest.raises(UsageError, match="--hosts: ") as caught:
        parse_hosts(text)
    assert part in str(caught.value)


def test_both_forms_of_hostfiles_are_read(tmp_path):
    file = tmp_path / "hosts"
    file.write_text("# my cluster\na slots=2\nb:3  # new\n\nc   slots = 4\r\nd\n")
    assert parse_hostfile(file) == (Host("a", 2), Host("b", 3), Host("c", 4), Host("d", 1))


@pytest.mark.parametrize(
    ("text", "part"), [("a\nb slot=2\n", "hosts:2: 'b slot=2'"), ("\n# none\n", "no host"), ("a\na\n", "twice")]
)
def test_mistakes_in_hostfiles_name_the_line(tmp_path, text, part):
    file = tmp_path / "hosts"
    file.write_text(text)
    with pytest.raises(UsageError) as caught:
        parse_hostfile(file)
    assert part in str(caught.value) and "\n" not in str(caught.value)


def test_a_hostfile_that_can_not_be_read_is_one_line(tmp_path):
    for content in (None, b"\xff\xfe\x00"):
        file = tmp_path / ("absent" if content is None else "binary")
        if content is not None:
            file.write_bytes(content)
        with pytest.raises(UsageError, match="can't read"):
            parse_hostfile(file)


def test_a_place_counts_slots():
    assert Place(None, parse_hosts("a:2,b:3")).slots == 5 and Place().slots == 0
