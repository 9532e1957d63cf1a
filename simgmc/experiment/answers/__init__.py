"""Questions asked of a finished run, answered by replays: what bound it, and where the answer flips."""
