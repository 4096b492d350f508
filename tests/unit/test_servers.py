"""A policy server that is not there is known before a Ray is started for it."""

import socket

import pytest

from ray_eval.config import load_config
from ray_eval.driver.servers import check_servers
from ray_eval.errors import SetupError


def remote(*addresses, ray="null"):
    words = ["suite=fake", "policy=openpi", f"policy.addresses=[{','.join(addresses)}]", f"ray.address={ray}"]
    return load_config(None, words)


@pytest.fixture
def listening():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


@pytest.fixture
def nobody():
    with socket.socket() as taken:  # bound and not listening: refused, and nobody else's
        taken.bind(("127.0.0.1", 0))
        yield f"127.0.0.1:{taken.getsockname()[1]}"


def test_somebody_at_one_of_the_addresses_is_enough(listening, nobody):
    check_servers(remote(listening), 0)
    check_servers(remote(nobody, f"ws://{listening}"), 0)


def test_nobody_is_an_error_that_names_every_address(nobody):
    with pytest.raises(SetupError, match=rf"got nobody at ws://{nobody} \(Connection refused\); start it"):
        check_servers(remote(f"ws://{nobody}"), 0)


def test_a_socket_file_is_looked_for_too(tmp_path):
    words = ["suite=fake", "policy=kserve", f"policy.addresses=[unix:{tmp_path / 's'}]"]
    with pytest.raises(SetupError, match=r"No such file or directory"):
        check_servers(load_config(None, words), 0)


def test_addresses_of_a_cluster_are_its_nodes_own(nobody):
    check_servers(remote(nobody, ray="auto"), 0)


def test_other_policies_have_no_server():
    check_servers(load_config(None, ["suite=fake", "policy=noop"]), 0)
