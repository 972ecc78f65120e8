"""The pytest plugin: fixtures for network namespaces, TUN devices and labs, and reports of their packets.

    def test_kernel_answers_ping(tun):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"payload")
        assert tun.expect(ICMP.where(type=0)).payload == b"payload"

Fixtures: `tun`, `netns`, `ping` and `inject` give each test its own namespace and TUN device, `tap` a TAP device.
`make_tun` and `make_netns` make more of them. `lab` starts the lab that `@pytest.mark.lab(…)` names; `make_lab`
starts others. Settings come from ini options and `@pytest.mark.tun(…)`. Everything is removed when the test ends.
Namespaces have no names, so parallel tests cannot collide. A fixture of the same name in your project replaces
tunlab's.

For contributors: every pytest run on a user's machine imports these modules, even if it does not use tunlab.
Import the rest of tunlab inside functions.
"""

pytest_plugins = tuple(
    f"tunlab.pytest_plugin.{name}"
    for name in (
        "options",
        "user_tracebacks",
        "worker_process",
        "engine_options",
        "fixtures",
        "lab_fixtures",
        "dut_settings",
        "dut_fixtures",
        "strict",
        "comparison",
        "recording_files",
        "ascii_fallback",
        "failure_report",
        "leaks",
        "pause",
    )
)
