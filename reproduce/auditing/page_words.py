"""Numbers and counts as the page prints them."""


def told_difference(entry, column):
    """Ours minus published, as the page prints it."""
    if column not in entry.ours or column not in entry.row.published:
        return "-"
    apart = entry.ours[column].middle - entry.row.published[column].mean
    return f"{apart:+.1f}{' (over 1 point)' if abs(apart) > 1 else ''}"


def as_python(value):
    """A value of an experiment as Python writes it."""
    return repr(tuple(value) if isinstance(value, list) else value)


def plain(value):
    """A value of a result for people."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {plain(part)}" for name, part in value.items()) or "-"
    return "-" if value is None or value == "" else str(value)


def counted(number, thing):
    """ "1 run", "2 runs"."""
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def runs_done(number, wanted):
    """ "2 of 5 runs", "5 runs"."""
    return f"{number} of {wanted} runs" if number < wanted else counted(number, "run")
