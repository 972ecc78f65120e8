"""`tunlab ls`: the state, creation time and addresses of labs."""

import json
import re

import pytest

from tunlab.kernel.network.rtnl import Rtnl


def test_ls_without_labs_prints_an_empty_list(tunlab):
    assert tunlab("ls") == (0, "", "no lab is up. `tunlab up` creates one.\n")
    assert tunlab("ls", "--json").out == "[]\n"


def test_ls_shows_state_and_creation_time(tunlab, lab, dump):
    dump()
    head, row = tunlab("ls").out.splitlines()
    assert head.split() == ["LAB", "STATE", "SINCE", "NODES", "DEVICE", "ADDRESSES", "READER", "PROCESSES", "ENDED"]
    assert row.split() == ["lab", "up", lab.state.created, "1", "tun0", "10.1.2.1/24", "yes", "-", "-"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00", lab.state.created)


def test_ls_shows_an_address_added_after_up(tunlab, lab, list_labs):
    with lab.netns() as netns, Rtnl(netns) as rtnl:
        rtnl.add_address(rtnl.link_index("tun0"), "192.0.2.1/32")
    assert list_labs()["lab"]["addresses"] == ["10.1.2.1/24", "192.0.2.1/32"]


@pytest.mark.usefixtures("lab")
def test_ls_as_unprivileged_user_shows_the_recorded_addresses(command, as_nobody, environment):
    result = command("ls", "--json", prefix=as_nobody(), env={**environment, "TUNLAB_RUN": "/mnt/work/run"})
    (seen,) = json.loads(result.out)
    assert (seen["name"], seen["addresses"], seen["attached"]) == ("lab", ["10.1.2.1/24"], None)


@pytest.mark.usefixtures("lab")
def test_ls_omits_directories_that_are_not_labs(tunlab, run_directory, list_labs):
    (run_directory / "Not-A-Lab").mkdir()
    assert list(list_labs()) == ["lab"]
    (run_directory / "Not-A-Lab").rmdir()
