"""Evidence of a TAP: each frame once, as a packet between test and kernel, with the link type Ethernet."""

import subprocess

import pytest

from tunlab.kernel.device.netns_capture import NetnsCapture
from tunlab.kernel.namespace.netns import Netns
from tunlab.packet import ICMP, ICMPv6, IPv4, IPv6, MLDv2Report
from tunlab.recorder import LINKTYPE_ETHERNET, parse_record, read_pcapng
from tunlab.report.evidence import RecordedNetns, gather_evidence, to_pcapng
from tunlab.report.ladder import draw_ladder
from tunlab.report.page.arrows import Arrow
from tunlab.report.page.columns import find_columns
from tunlab.traffic import Tap


@pytest.fixture(params=["10.1.2.1/24", "fd00::1/64"], ids=["IPv4", "IPv6"])
def recorded(request):
    with (
        Netns.create(ipv6=":" in request.param) as netns,
        NetnsCapture.open(netns) as record,
        Tap.create(request.param, netns=netns) as tap,
    ):
        yield RecordedNetns("kernel", netns, record, [tap])


def ping(tap):
    """Let the kernel answer an echo request, for which it asks for the MAC address of the peer."""
    if ":" in tap.address:
        tap.inject(IPv6(src=tap.peer, dst=tap.address), ICMPv6.echo_request(1, 1))
        tap.expect(ICMPv6.where(type=129))
    else:
        tap.inject(IPv4(src=tap.peer, dst=tap.address), ICMP.echo_request(1, 1))
        tap.expect(ICMP)


def comments(observations):
    """Return what the test did with each frame, without MLD reports."""
    found = [each for each in observations if MLDv2Report not in each.packet]
    return [each.comment.partition(" at ")[0].removesuffix("; skipped") for each in found]


@pytest.mark.parametrize("closed", [False, True], ids=["open", "closed"])
def test_evidence_of_a_tap_has_each_frame_once(recorded, closed):
    (tap,) = recorded.tuns
    ping(tap)
    if closed:
        tap.close(keep_device=True)
    found = gather_evidence([recorded]).observations
    assert comments(found) == [
        "injected", "answered by the Tap", "address resolution", "matched expectation 1",
    ]  # fmt: skip
    assert {(each.device, each.on_link, each.linktype, each.recorded) for each in found} == {
        ("tap0", False, LINKTYPE_ETHERNET, True)
    }


def test_ladder_of_a_tap_has_arrows_between_test_and_kernel(recorded):
    ping(recorded.tuns[0])
    ladder = "\n".join(draw_ladder(gather_evidence([recorded])))
    assert "echo reply" in ladder
    assert "who has" in ladder
    assert "not received" not in ladder


def test_evidence_without_capture_has_frames_recorded_by_the_tap(recorded):
    (tap,) = recorded.tuns
    ping(tap)
    evidence = gather_evidence([RecordedNetns("kernel", recorded.netns, None, [tap])])
    assert len(comments(evidence.observations)) == 4
    assert {(each.on_link, each.linktype, each.recorded) for each in evidence.observations} == {
        (False, LINKTYPE_ETHERNET, False)
    }
    assert "echo reply" in "\n".join(draw_ladder(evidence))


def test_page_columns_of_a_tap_recording_are_test_and_kernel(recorded):
    ping(recorded.tuns[0])
    records = list(read_pcapng(to_pcapng(gather_evidence([recorded]), comment="a test")))
    columns, arrows = find_columns(records, list(map(parse_record, records)))
    assert columns == [("test", ""), ("kernel", "tap0")]
    assert arrows == [Arrow(0, (1,)) if each.direction == "in" else Arrow(1, (0,)) for each in records] != []


def test_page_columns_of_a_tap_beside_another_namespace_are_test_and_node(recorded):
    ping(recorded.tuns[0])
    with Netns.create() as other:
        evidence = gather_evidence([recorded, RecordedNetns("other", other)])
    records = list(read_pcapng(to_pcapng(evidence, comment="a test")))
    columns, arrows = find_columns(records, list(map(parse_record, records)))
    assert columns == [("test", ""), ("kernel", "")]
    assert {(arrow.origin, arrow.targets) for arrow in arrows} == {(0, (1,)), (1, (0,))}


def test_tshark_reads_recording_of_a_tap_as_ethernet(recorded, need, tmp_path):
    (tap,) = recorded.tuns
    ping(tap)
    file = tmp_path / "tap.pcapng"
    file.write_bytes(to_pcapng(gather_evidence([recorded]), comment="a test"))
    records = read_pcapng(file.read_bytes())
    assert {(each.interface.name, each.interface.linktype) for each in records} == {("tap0", LINKTYPE_ETHERNET)}
    command = [need("tshark"), "-r", str(file), "-T", "fields", "-e", "eth.src", "-e", "_ws.col.Protocol"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
    assert set(shown[::2]) == {tap.hardware_address, tap.peer_hardware_address}
    assert set(shown[1::2]) == ({"ICMPv6"} if ":" in tap.address else {"ICMP", "ARP"})


def test_recording_of_a_silent_tap_has_one_interface(recorded):
    tap = recorded.tuns[0]
    data = to_pcapng(gather_evidence([RecordedNetns("kernel", recorded.netns, None, [tap])]), comment="a test")
    assert data.count(b"tap0") == 1
