"""`tunlab ping-all`: who reaches whom, beside what the topology promises."""

from __future__ import annotations

from collections.abc import Mapping

import click

Pair = tuple[str, str]


@click.command("ping-all", short_help="See who reaches whom in a lab.")
@click.argument("name", required=False, metavar="[LAB]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of pairs.")
def ping_all_command(name: str | None, as_json: bool) -> None:
    """Send echo requests from every node of a lab to every other, and hold the replies against the topology.

    \b
    yes    it answers, as it should
    no     it does not, as it should not: it is behind a NAT router, or there is no way to it
    LOST   it should answer, and does not
    OPEN   it should not answer, and does

    Ends with 0 if all is as the topology says, else with 1. LAB may be left out if only one is up.

    Example: tunlab ping-all router
    """
    import json

    from tunlab.cli.progress import Progress
    from tunlab.lab.lab import Lab
    from tunlab.topology import reachable

    lab = Lab.open(name)
    promised: Mapping[Pair, bool] = reachable(lab.plan)
    asked = [0, 0]

    def tell(*now: int) -> None:
        asked[:] = now

    with lab.live() as live, Progress(lambda: f"{asked[0]} of {asked[1]} requests are answered or given up"):
        reached: Mapping[Pair, bool] = live.ping_all(told=tell)
    if as_json:
        pairs = [
            {"from": a, "to": b, "reached": bool(reached.get((a, b))), "promised": due}
            for (a, b), due in promised.items()
        ]
        click.echo(json.dumps(pairs))
    elif promised:
        click.echo(matrix(promised, reached))
    else:
        click.echo(f"lab {lab.name} has one node only, which reaches itself", err=True)
    wrong = [(a, b) for (a, b), due in promised.items() if bool(reached.get((a, b))) != due]
    if wrong:
        said = ", ".join(f"{a} → {b}" for a, b in wrong[:3]) + (" …" if len(wrong) > 3 else "")
        remedy = f"tunlab dump {lab.name}/{wrong[0][1]} shows what arrives there"
        click.echo(f"tunlab: {len(wrong)} of {len(promised)} are not as the topology says: {said}; {remedy}", err=True)
        raise click.exceptions.Exit(1)


def matrix(promised: Mapping[Pair, bool], reached: Mapping[Pair, bool]) -> str:
    """A row for each node that asks, a column for each that is asked."""
    names = list(dict.fromkeys(name for pair in promised for name in pair))
    rows = [["", *names], *([a, *(_cell((a, b), promised, reached) for b in names)] for a in names)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cell(pair: Pair, promised: Mapping[Pair, bool], reached: Mapping[Pair, bool]) -> str:
    if pair not in promised:
        return "-"
    words = {(True, True): "yes", (False, False): "no", (True, False): "LOST", (False, True): "OPEN"}
    return words[promised[pair], bool(reached.get(pair))]
