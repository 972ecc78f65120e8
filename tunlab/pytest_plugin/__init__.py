"""The pytest plugin: namespaces, TUN devices, traffic and whole labs as fixtures.

    def test_the_kernel_answers(tun):
        tun.inject(IPv4(src=tun.peer, dst=tun.address), ICMP.echo_request(1, 1), b"payload")
        assert tun.expect(ICMP.where(type=0)).payload == b"payload"

Settings → factory → per-test fixture: ini options and `@pytest.mark.tun(…)` set, `make_netns` and
`make_tun` make, `netns` and `tun` are the test's own; so are `@pytest.mark.lab(…)`, `make_lab` and `lab`.
A strict test, `@pytest.mark.tun(strict=True)`, fails by a packet that nobody expected; `assert a == b` of two packets
shows the fields in which they differ.
All of it is gone when the test ends; nothing has a name, so tests under pytest-xdist cannot meet.

Rule for editors: every pytest run on a user's machine imports these modules, whether it uses tunlab or
not. Import the rest of tunlab inside functions.
"""

pytest_plugins = tuple(
    f"tunlab.pytest_plugin.{name}"
    for name in (
        "options",
        "workers",
        "on_engines",
        "fixtures",
        "lab_fixtures",
        "strict",
        "comparison",
        "recording_files",
        "ascii_fallback",
        "failure_report",
        "leaks",
        "pause",
    )
)
