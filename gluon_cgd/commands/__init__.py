"""The command line: a module a command. Only here are flags declared, options read and results printed."""
