"""A table as data, for --json and the reports: its entries, each with the claims that it is the better side of."""

from reproduce.report.comparison import table_verdict
from reproduce.verdicts import figure3, orderings
from reproduce.verdicts.table import sentence


def as_data(table, rows, small):
    """[{...}, ...]: the `Entry.as_dict` of each of `rows`, with its "claims"; Figure 3's are with a panel's first row.

    Each has the "table_verdict", the same for all rows: a `TableVerdict` and its "sentence", or None.
    A claim has its name, its outcome in words and the whole sentence. It has either the "p" of itself and of its
    opposite, after the correction over the table, or the "share" of bootstrap samples.
    """
    found = {}
    for claim in orderings.claims(table, rows, small):
        p = [claim.ordering.p_holds, claim.ordering.p_opposite]
        found.setdefault(claim.row, []).append(described(claim.name, claim.word, claim.sentence(), p=p))
    for benchmark, results in figure3.by_seed(rows).items() if table.name == "figure3" else ():
        first = next(row.row for row in rows if row.row.startswith(f"{benchmark} "))
        for claim in figure3.claims(results, small):
            told = described(claim.name, claim.outcome, claim.sentence(), share=claim.share)
            found.setdefault(first, []).append(told)
    verdict = None if small else table_verdict(table, rows)
    whole = verdict and {**verdict._asdict(), "sentence": sentence(table.label, verdict)}
    claims = [found.get(row.row, []) if row.experiment else [] for row in rows]
    return [{**row.as_dict(), "table_verdict": whole, "claims": own} for row, own in zip(rows, claims)]


def described(name, outcome, sentence, **numbers):
    """One claim as a dict."""
    return {"claim": name, "outcome": outcome, **numbers, "sentence": sentence}
