# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
HTML, escaped by default: names of VMs and answers of servers are untrusted, so
all that is not Markup is escaped.
"""

import html

from vdsm_tlsciphers import output

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence


class Markup(str):
    """Text that is already HTML."""

    __slots__ = ()


NEWLINE = Markup('\n')


def text(value: object) -> Markup:
    """Return anything as Markup."""
    if isinstance(value, Markup):
        return value
    return Markup(html.escape(output.clean(str(value))))


def join(items: 'Iterable[object]', separator: str = '') -> Markup:
    """Return one Markup of many."""
    return Markup(text(separator).join(map(text, items)))


def element(name: str, *children: object, **attributes: object) -> Markup:
    """Return an element: class_='x' stands for class="x"."""
    return Markup('%s%s</%s>' % (opening(name, **attributes), join(children),
                                 name))


def opening(name: str, **attributes: object) -> Markup:
    """Return the start tag of an element."""
    return Markup('<%s%s>' % (name, ''.join(
        ' %s="%s"' % (key.rstrip('_').replace('_', '-'), text(value))
        for key, value in attributes.items())))


def table(caption: str, columns: 'Sequence[str]',
          rows: 'Iterable[Sequence[object]]') -> Markup:
    """
    Return a table: columns (list of str, those of numbers begin with '#'),
    rows (iterable of lists), whose first cell names the row.
    """
    numbers = [column.startswith('#') for column in columns]

    def cell(name: str, value: object, number: bool,
             **attributes: object) -> Markup:
        if number:
            attributes['class_'] = 'number'
        return element(name, value, **attributes)

    head = element('tr', *[cell('th', column.lstrip('#'), number, scope='col')
                           for column, number in zip(columns, numbers)])
    body = [element('tr', cell('th', row[0], numbers[0], scope='row'),
                    *[cell('td', value, number)
                      for value, number in zip(row[1:], numbers[1:])])
            for row in rows]
    return element('div', element(
        'table', element('caption', caption), element('thead', head), NEWLINE,
        element('tbody', join(body, NEWLINE))),
        class_='wide', tabindex='0', role='region', aria_label=caption)


def facts(pairs: 'Iterable[tuple[str, object]]') -> Markup:
    """Return a list of names and values, without empty values."""
    return element('dl', *[element('div', element('dt', name),
                                   element('dd', value))
                           for name, value in pairs if value])
