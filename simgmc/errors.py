"""Errors that a user can cause and should read in one line."""


class SimgmcError(Exception):
    """Something in the input is wrong; the message says what, where and what would be right."""


class DivergenceError(SimgmcError):
    """Training left the finite numbers: the method's run ends here, other methods go on."""
