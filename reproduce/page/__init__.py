"""One page of HTML: tables, plots, training curves, the runs behind each number."""
