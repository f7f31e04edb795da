"""What loggers of Snakemake have in common that print in its place."""

from __future__ import annotations

from snakemake_interface_logger_plugins.base import LogHandlerBase


class InPlaceOfSnakemake(LogHandlerBase):
    """Prints to the terminal and nowhere else, behind Snakemake's own filter and in its own words."""

    @property
    def writes_to_stream(self) -> bool:
        """In place of Snakemake's own output."""
        return True

    @property
    def writes_to_file(self) -> bool:
        """Snakemake keeps its own log."""
        return False

    @property
    def has_filter(self) -> bool:
        """Snakemake's own is right: it holds back what only --verbose shows."""
        return False

    @property
    def has_formatter(self) -> bool:
        """Snakemake's own is right for what is printed of it."""
        return False

    @property
    def needs_rulegraph(self) -> bool:
        """Jobs alone count."""
        return False
