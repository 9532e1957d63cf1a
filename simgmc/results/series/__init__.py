"""What a run directory says, as series: one method on one cluster under one seed; and the answers computed from them
(time to target, ratios, where the best method changes). May import the directory and core.
"""
