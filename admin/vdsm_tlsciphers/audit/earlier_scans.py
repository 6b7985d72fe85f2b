# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""Consoles of earlier scans, for comparisons."""

import ipaddress

from vdsm_tlsciphers.audit.results import Result, Totals, endpoint, result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from vdsm_tlsciphers import documents

    # VM or address, display, host.
    Label = tuple[str, documents.ScannedDisplay, str]
    Key = tuple[str | int | None, ...]


class Entry:
    """
    A console of an earlier scan: time (str), result (Result), label (tuple:
    VM or address, display, host), found (bool: a later scan has it too).
    """

    def __init__(self, time: str, found: Result, label: 'Label') -> None:
        self.time = time
        self.result = found
        self.label = label
        self.found = False


class PreviousScan:
    """
    The consoles of earlier scans, for comparisons: totals (Totals), times (set
    of str), is_later (bool: one of them is later than what it was compared
    with).
    """

    def __init__(self, documents: 'Iterable[documents.Scan]') -> None:
        """Read scan documents (iterable of dict)."""
        self.totals = Totals()
        self.times: set[str] = set()
        self.is_later = False
        self._by_key: dict[Key, Entry] = {}
        known: dict[Result, Result] = {}
        for document in documents:
            self.times.add(document['time'])
            for console in document['consoles']:
                found = result(console)
                self.totals.add(found)
                entry = Entry(
                    document['time'], known.setdefault(found, found),
                    (console['vm'] or endpoint(console), console['display'],
                     document['host']))
                for key in keys(console, document['host']):
                    other = self._by_key.get(key)
                    if other is None or other.time <= entry.time:
                        self._by_key[key] = entry

    def find(self, console: 'documents.Console', host: str,
             time: str) -> 'Result | None':
        """
        Return the newest Result of the same console, or None, for a scan of
        a host at a time (both str).
        """
        entries = [self._by_key[key] for key in keys(console, host)
                   if key in self._by_key]
        for entry in entries:
            entry.found = True
        self.is_later = self.is_later or bool(entries
                                              and entries[0].time > time)
        return entries[0].result if entries else None

    def gone(self) -> 'list[Label]':
        """Return the labels of consoles that find() did not return (list)."""
        return [entry.label for entry in dict.fromkeys(self._by_key.values())
                if not entry.found]


def keys(console: 'documents.Console', host: str) -> 'list[Key]':
    """
    Return what identifies a console, the most reliable first. Ports are
    reused by other VMs, so an address counts only where no VM is known.
    """
    known: list[Key] = [(name, console[name], console['display'])
                        for name in ('uuid', 'vm') if console[name]]
    if known:
        return known
    # Every host has this address.
    local = host if is_loopback(console['address']) else None
    return [(local, console['address'], console['port'])]


def is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == 'localhost'
