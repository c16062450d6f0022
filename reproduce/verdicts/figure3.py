"""Figure 3 in words: the twelve configurations on each benchmark, and what section 4.4.1 says of them."""

import numpy as np

from gluon_cgd.experiment import CONFIGURATIONS
from visualize import configurations


def panels(entries):
    """{benchmark: {configuration: [recall in % of each run]}} of the entries of Figure 3 that have run."""
    return configurations.panels([entry.as_dict() for entry in entries])


def claims(results):
    """Sentences: do the two claims of section 4.4.1 hold? results: one panel, {configuration: [recall in %, ...]}."""
    middle = {name: float(np.median(values)) for name, values in results.items()}
    singles = sorted((name for name in middle if len(name) == 1), key=middle.get, reverse=True)
    combined = [name for name in middle if len(name) > 1]
    if set(CONFIGURATIONS) - set(results):
        return ["not all configurations have run yet"]
    above = sum(middle[name] > middle[singles[0]] for name in combined)
    best = max(middle, key=middle.get)
    pair = set(singles[:2])
    return [
        f"{above} of {len(combined)} combined descriptors are above the best single one, {singles[0]}: "
        f"'the majority outperforms' {'holds' if 2 * above > len(combined) else 'DOES NOT HOLD'}",
        f"the best single descriptors are {singles[0]} and {singles[1]}, the best configuration is {best}: "
        f"'the best one combines the two best' {'holds' if set(best) == pair else 'DOES NOT HOLD'}",
    ]


def as_text(entries):
    """The medians, ranges and claims as a text."""
    text = []
    for benchmark, results in panels(entries).items():
        text += ["", f"{benchmark}, Recall@1 in %: median (lowest to highest, runs)"]
        for name, values in results.items():
            text.append(f"  {name:4} {np.median(values):5.1f} ({min(values):.1f} to {max(values):.1f}, {len(values)})")
        text += [f"  - {claim}" for claim in claims(results)]
    return "\n".join(text or ["there are no runs yet"])
