# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Prints the commands that define the properties in the engine."""

EXAMPLES = ''


def add_arguments(parser):
    """Add what the command takes to its parser."""


def run(options):
    """Do the command's work; return its exit status."""
    return 0
