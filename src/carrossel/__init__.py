"""carrossel: recurrent networks on price series, tracked, compared and told the truth about."""

__version__ = "0.1.0"
