"""Errors and warnings for the user: each gives the rule, the value and the way out."""


class MicronasError(Exception):
    """Base of all errors that a user can cause; the command line prints one line."""


class ConfigError(MicronasError):
    """A search space, board, architecture or run configuration is not valid."""


class BudgetError(MicronasError):
    """No network of the search space can meet the budget."""


class DataError(MicronasError):
    """A data set is missing, damaged or not in a documented layout."""


class DiskError(MicronasError, OSError):
    """The disk is full."""


class ExportError(MicronasError):
    """A network cannot be expressed as TensorFlow Lite Micro operators."""


class ModelError(MicronasError):
    """A model file is damaged or unreadable."""


class CalibrationWarning(UserWarning):
    """Ranges of activations come from inputs that may not be typical, or lose much signal."""


class FineTuneWarning(UserWarning):
    """The weights of a network have not been trained at its widths."""
