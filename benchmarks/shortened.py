"""`python -m reproduce` with the experiments of its tables shortened, for a rehearsal on a CPU.

python benchmarks/shortened.py table1 --rows Both --seeds 1 --data DIR --runs DIR

Everything else is as typed: the same datasets, pictures, checkpoints, reports. The runs have keys of their own.
"""

import sys
from dataclasses import replace

from reproduce import command
from reproduce.tables import TABLES

SHORT = dict(backbone="small_resnet", input_size=32, dim=192, batch_classes=8, passes=10, evaluations=2)


def shortened(table):
    """The Table with the experiment of each row changed as SHORT says."""
    rows = [row._replace(experiment=row.experiment and replace(row.experiment, **SHORT)) for row in table.rows]
    return replace(table, rows=tuple(rows))


if __name__ == "__main__":
    command.TABLES = {name: shortened(table) for name, table in TABLES.items()}
    sys.exit(command.main())
