"""The commands, one module for one or two of them. Only here are flags declared, options read and results printed."""
