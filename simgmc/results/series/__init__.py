"""What a run directory says, as series: one method on one cluster under one seed."""
