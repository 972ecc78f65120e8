"""The JSON schema of a node's programs and files. Source: json-schema.org/draft-07."""

from __future__ import annotations

from tunlab.topology.lab_file.schema_shapes import Schema, array, either, table, text, time

_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_PATH = r"/.*"
_OWNER = "[A-Za-z0-9_][A-Za-z0-9_.-]*(:[A-Za-z0-9_][A-Za-z0-9_.-]*)?"


def program() -> Schema:
    """Return the schema of a program and its arguments."""
    return either(
        "A program and its arguments; no shell interprets them. A relative path starts at the lab file.",
        text("As one string, split like a shell command line.", examples=["python3 -m http.server 80"]),
        {**array({"type": "string"}, minItems=1), "description": "As a list of arguments."},
    )


def commands() -> tuple[Schema, Schema]:
    """Return the schemas of a table of `run` and of a table of `setup`."""
    ready = table(
        "The condition under which the program is ready; `tunlab up` waits for it.",
        {
            "port": {"description": "A TCP port on which the program listens.", **_PORT},
            "udp": {"description": "A UDP port to which the program is bound.", **_PORT},
            "line": text("A regular expression that matches a line of its output.", format="regex"),
            "path": text("A path that exists in the node.", _PATH),
            "command": {**program(), "description": "A program that succeeds in the node."},
            "exit": {
                "description": "The exit status with which the program has ended.",
                "type": "integer",
                "minimum": 0,
                "maximum": 255,
            },
        },
    )
    common = {
        "command": program(),
        "env": environment("Environment variables of the program, besides those of the node."),
        "user": owner("The user, or user:group, that it runs as."),
        "cwd": text("Its working directory.", _PATH),
    }
    run = {
        **common,
        "ready": {**ready, "minProperties": 1},
        "timeout": time("Maximum time until the program is ready."),
        "may_exit": {
            "description": "True if the end of the program is not a failure.",
            "type": "boolean",
            "default": False,
        },
    }
    setup = {**common, "timeout": time("Maximum time until the program has ended.")}
    return (
        table("A program and its ready condition.", run, ("command",)),
        table("A program that must succeed.", setup, ("command",)),
    )


def environment(description: str) -> Schema:
    """Return the schema of a table of environment variables."""
    return {
        "description": description,
        "type": "object",
        "additionalProperties": {"anyOf": [{"type": "integer"}, {"type": "string"}]},
        "examples": [{"MODE": "test"}],
    }


def owner(description: str) -> Schema:
    """Return the schema of a user, or a user and a group."""
    return text(description, _OWNER, examples=["nobody", "frr:frr"])


def file_keys() -> Schema:
    """Return the schemas of `files`, `private`, `run_dirs` and `share`."""
    attributes = {
        "owner": owner("The owner, or owner:group."),
        "mode": text("The permission bits, in octal digits.", "[0-7]{3,4}", examples=["0640"]),
    }
    source = text("The source file or directory, relative to the lab file.")
    file = table(
        "A copy of a file or directory, or a file with this text.",
        {"source": source, "text": {"description": "The content of the file.", "type": "string"}, **attributes},
    )
    directory = table("A directory with its owner.", {"path": text("Its path.", "/run/.*"), **attributes}, ("path",))
    return {
        "files": {
            "description": (
                "Files and directories to mount: the path in the node, and the source relative to the lab file, or a"
                " table with the text. What programs write to a copy or a text stays in the node."
            ),
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {"anyOf": [{"type": "string", "minLength": 1}, file]},
            "examples": [{"/etc/motd": "motd.txt", "/etc/frr/daemons": {"text": "bgpd=yes", "owner": "frr:frr"}}],
        },
        "private": either(
            "Directories besides /run that the node has for itself, with the machine's directories but not its files.",
            array(text("A directory.", _PATH)),
            text("One directory.", _PATH),
        ),
        "run_dirs": either(
            "Directories to create in the node's /run.",
            array({"anyOf": [text("A path.", "/run/.*"), directory]}),
            text("One path.", "/run/.*"),
        ),
        "share": either(
            "Files, sockets and directories of the machine that a private directory does not hide.",
            array(text("A path.", _PATH)),
            text("One path.", _PATH),
        ),
    }
