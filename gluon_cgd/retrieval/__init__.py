"""People's own pictures: embedded, indexed and searched."""
