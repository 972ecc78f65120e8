"""Plan a lab: compute each interface name, address and route. The same spec always gives the same plan."""

from __future__ import annotations

from tunlab.topology.plan import Impairment, InterfacePlan, LabPlan, LinkPlan, NodePlan
from tunlab.topology.planner.routes import routes
from tunlab.topology.planner.wiring import BRIDGE, Port, Wiring, hardware_address, versions, wire
from tunlab.topology.spec import LabSpec, NodeSpec
from tunlab.topology.values.problems import Problems

DOMAIN = "lab"
"""The domain in the full names of nodes, such as "server.lab"."""

FORWARDING = ("net.ipv4.ip_forward", "1")
FORWARDING_IPV6 = ("net.ipv6.conf.all.forwarding", "1")

_FIRST_IFINDEX, _FIRST_IFINDEX_IN_CONTAINER = 2, 100_001  # lo has index 1, interfaces of containers have low ones


def plan(spec: LabSpec) -> LabPlan:
    """Return the plan of a lab. Raises TopologyError with every error if the spec is invalid and was not checked."""
    problems = Problems()
    wiring = wire(spec, problems)
    problems.raise_if_any()
    return _Planner(spec, wiring).plan()


class _Planner:
    def __init__(self, spec: LabSpec, wiring: Wiring) -> None:
        self.spec, self.wiring = spec, wiring
        self.ipv6 = spec.ip != "ipv4"
        self.versions = versions(spec)
        self.routes = {version: routes(spec, wiring, version) for version in self.versions}
        self.links: list[LinkPlan] = []
        # `veths` maps (link number, end number) to the index in `links` of the veth pair of that end.
        self.veths: dict[tuple[int, int], int] = {}
        for number, ports in enumerate(wiring.links):
            if len(ports) == 2:
                self._veth((ports[0].node, ports[0].ifname), (ports[1].node, ports[1].ifname), *ports)
                continue
            for index, port in enumerate(ports):
                self._veth((port.node, port.ifname), (f"link{number + 1}", f"eth{index}"), port)

    def _veth(self, one: tuple[str, str], other: tuple[str, str], *ports: Port) -> None:
        for port in ports:
            self.veths[port.link, port.end] = len(self.links)
        self.links.append(LinkPlan(ends=(one, other)))

    def plan(self) -> LabPlan:
        nodes = [self._node(name, node) for name, node in self.spec.nodes.items()]
        nodes += [self._bridge(ports) for ports in self.wiring.links if len(ports) > 2]
        return LabPlan(name=self.spec.name, nodes=tuple(nodes), links=tuple(self.links), hosts=self._hosts())

    def _node(self, name: str, node: NodeSpec) -> NodePlan:
        devices = node.devices
        first = _FIRST_IFINDEX_IN_CONTAINER if node.container else _FIRST_IFINDEX
        interfaces = [
            InterfacePlan(
                ifname=ifname, ifindex=first + index, hardware_address="", addresses=addresses, mtu=node.mtu, link=-1
            )
            for index, (ifname, addresses) in enumerate(devices.items())
        ]
        for port in self.wiring.ports[name]:
            interfaces.append(self._interface(port, first + len(interfaces)))
        computed = (route for version in self.versions for route in self.routes[version][name])
        sysctls = ((FORWARDING, FORWARDING_IPV6) if self.ipv6 else (FORWARDING,)) if node.forward else ()
        outside = self.wiring.outside.get(name)
        return NodePlan(
            name=name,
            kind=node.kind,
            interfaces=tuple(interfaces),
            routes=tuple(computed) if node.routes is None else node.routes,
            sysctls=(*sysctls, *node.sysctls.items()),
            run=node.run,
            setup=node.setup,
            after=node.after,
            files=tuple(node.files.items()),
            texts=tuple(node.texts.items()),
            owners=tuple((path, owner, mode) for path, (owner, mode) in node.owners.items()),
            private=node.private,
            run_dirs=node.run_dirs,
            share=node.share,
            ipv6=self.ipv6,
            tun=next(iter(devices), ""),
            loopback=node.loopback,
            bridge=BRIDGE if node.kind == "switch" else "",
            outside=outside.ifname if outside else "",
            image=node.image,
            container=node.container,
            env=tuple(node.env.items()),
            user=node.user,
            cwd=node.cwd,
        )

    def _interface(self, port: Port, ifindex: int) -> InterfacePlan:
        return InterfacePlan(
            ifname=port.ifname,
            ifindex=ifindex,
            hardware_address=port.mac,
            addresses=tuple(str(port.addresses[version]) for version in self.versions if version in port.addresses),
            mtu=port.mtu,
            link=self.veths[port.link, port.end],
            impairment=port.spec.impairment,
        )

    def _bridge(self, ports: list[Port]) -> NodePlan:
        """Return the bridge of a link with more than two ends; its own ports have no impairment."""
        return NodePlan(
            name=f"link{ports[0].link + 1}",
            kind="switch",
            interfaces=tuple(
                InterfacePlan(
                    ifname=f"eth{index}",
                    ifindex=_FIRST_IFINDEX + index,
                    hardware_address=hardware_address(port.link, port.end, bridge=True),
                    addresses=(),
                    mtu=port.mtu,
                    link=self.veths[port.link, port.end],
                    impairment=Impairment(),
                )
                for index, port in enumerate(ports)
            ),
            implicit=True,
            ipv6=self.ipv6,
            bridge=BRIDGE,
        )

    def _hosts(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Return the entries of /etc/hosts; addresses on links come first, because programs use the first one."""
        hosts = []
        for name, node in self.spec.nodes.items():
            addresses = [str(port.addresses[v].ip) for port in self.wiring.ports[name] for v in port.addresses]
            addresses += [each.partition("/")[0] for each in node.loopback]
            addresses += [cidr.partition("/")[0] for cidrs in node.devices.values() for cidr in cidrs]
            hosts += [(address, (name, f"{name}.{DOMAIN}")) for address in addresses]
        return tuple(hosts)
