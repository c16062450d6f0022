"""The small form of the tables: real photographs and a smaller pretrained network, hours on a CPU.

docs/real-photographs.md says by which criteria its values were chosen, before its first run.
"""

from dataclasses import replace

from reproduce.tables import DETAILS, EXTENSIONS, FIGURE3, SMALL_FORM

SEEDS = 3
PANEL = "cars"  # of Figure 3, which has one in this form
NAMES = (*(f"table{number}" for number in range(1, 7)), FIGURE3.name, DETAILS.name, EXTENSIONS.name)
NONE = ("batch norm frozen",)  # rows without a small form: SqueezeNet has no batch norm


def small(experiment):
    """`experiment` in the small form: what the row is about, on half of CARS196.

    It has a third of the dimensions: 512 for 1,536, and 510 where three branches share them.
    """
    dim = experiment.dim // 3
    return replace(
        experiment,
        dataset="cars196_train_half",
        backbone="squeezenet1.1",
        input_size=128,
        dim=dim - dim % len(experiment.descriptors),
        learning_rate=3e-4,
        batch_classes=12,
        batch_images=2,
        passes=60,
        decay_at=(0.8,),
        evaluations=10,
    )


def small_table(table):
    """`table` in the small form: its rows, seeds and name. Raises ValueError if it has none."""
    if table.name not in NAMES:
        raise ValueError(f"{table.name} has no small form: leave out --small, or choose from {', '.join(NAMES)}")
    rows = [row for row in table.rows if row.name not in NONE]
    if table.name == FIGURE3.name:
        rows = [row._replace(name=row.name.replace("CARS196", PANEL)) for row in rows if row.name.startswith("CARS196")]
    rows = [row._replace(mini=with_batches(row, small(row.experiment))) for row in rows]
    return replace(table, rows=tuple(rows), seeds=SEEDS, form=SMALL_FORM)


def with_batches(row, experiment):
    """`experiment`, the small form of `row`, with the few classes in a batch that a row of the details is about."""
    few = row.experiment.batch_classes < 32
    return replace(experiment, batch_classes=4, batch_images=6) if few else experiment


def small_tables(tables):
    """Those of `tables` that have a small form, in it."""
    return [small_table(table) for table in tables if table.name in NAMES]
