"""`tunlab ping-all`: ping every node from every other, and compare the replies with the topology."""

from __future__ import annotations

from collections.abc import Mapping

import click

Pair = tuple[str, str]


@click.command("ping-all", short_help="Test which nodes of a lab reach each other.")
@click.argument("name", required=False, metavar="[LAB]")
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of node pairs.")
def ping_all_command(name: str | None, as_json: bool) -> None:
    """Send an ICMP echo request from each node of a lab to every other, and compare the replies with the topology.

    \b
    yes    reachable, as expected
    no     not reachable, as expected: behind a NAT router, or without a route
    LOST   not reachable, but expected to be
    OPEN   reachable, but not expected to be

    The exit code is 0 if all results are as expected, else 1. LAB may be omitted if only one lab is up.

    Example: tunlab ping-all router
    """
    import json

    from tunlab.cli.progress import Progress
    from tunlab.lab.persistent.lab import PersistentLab
    from tunlab.topology import reachable

    lab = PersistentLab.open(name)
    expected: Mapping[Pair, bool] = reachable(lab.plan)
    progress = [0, 0]

    def update(*done_and_total: int) -> None:
        progress[:] = done_and_total

    with lab.live() as live, Progress(lambda: f"{progress[0]} of {progress[1]} requests answered or timed out"):
        reached: Mapping[Pair, bool] = live.ping_all(progress=update)
    if as_json:
        pairs = [
            {"from": a, "to": b, "reached": bool(reached.get((a, b))), "expected": wanted}
            for (a, b), wanted in expected.items()
        ]
        click.echo(json.dumps(pairs))
    elif expected:
        click.echo(matrix(expected, reached))
    else:
        click.echo(f"lab {lab.name} has only one node; there is nothing to test", err=True)
    wrong = [(a, b) for (a, b), wanted in expected.items() if bool(reached.get((a, b))) != wanted]
    if wrong:
        pairs_text = ", ".join(f"{a} → {b}" for a, b in wrong[:3]) + (" …" if len(wrong) > 3 else "")
        remedy = f"See what arrives there: `tunlab dump {lab.name}/{wrong[0][1]}`."
        click.echo(
            f"tunlab: {len(wrong)} of {len(expected)} results differ from the topology: {pairs_text}. {remedy}",
            err=True,
        )
        raise click.exceptions.Exit(1)


def matrix(expected: Mapping[Pair, bool], reached: Mapping[Pair, bool]) -> str:
    """Return the results as a table with a row per sender and a column per target."""
    names = list(dict.fromkeys(name for pair in expected for name in pair))
    rows = [["", *names], *([a, *(_cell((a, b), expected, reached) for b in names)] for a in names)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _cell(pair: Pair, expected: Mapping[Pair, bool], reached: Mapping[Pair, bool]) -> str:
    if pair not in expected:
        return "-"
    words = {(True, True): "yes", (False, False): "no", (True, False): "LOST", (False, True): "OPEN"}
    return words[expected[pair], bool(reached.get(pair))]
