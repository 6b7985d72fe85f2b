# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""
A stand-in for the oVirt engine, which cannot be had here: the part of its
REST API, version 4, that ovirtsdk4 and the modules of ovirt.ovirt use for the
playbooks and for "scan --engine", as the API's documentation has it
(ovirt-engine-api-model). What matters here, and is like in the real one:

- A VM that is given custom properties has these, and no others; a name that
  its level does not define is refused. Levels from 4.6 define extra_cpu_flags.
- The hosted engine's VM keeps the properties that it has.
- What changes on a VM that runs waits for its next start (next_run).
- A host goes to maintenance, and comes up again, by way of another status. A
  test may do what becomes of its VMs (on_maintenance): they move, or one does
  not, and the host stays in that other status until it is activated.
- A label's and a group's members come by their own requests.
- Consoles have an address and ports where "current" is asked for, with
  "follow" as well, since that is answered within the same request
  (ParametersHelper and LinkFollower of ovirt-engine).
- A search finds one page of so many ("page N", "max").
- The definitions of custom properties are a system option, by level
  (definitions). What a VM can be given here is USER_DEFINED all the same.
"""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import re
import ssl
import sys
import threading
import urllib.parse
import uuid
from collections.abc import Callable, Collection, Iterator
from typing import Any
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

ROOT = '/ovirt-engine/api'
# What the engine knows of a host, a VM or the like.
Item = dict[str, Any]
# {protocol: (address, port, port with TLS)}
Ports = dict[str, tuple[str, int, int]]
# Custom properties: those that the engine defines for a level and all later
# ones, and those that an administrator has defined.
PREDEFINED = {(4, 2): ('sap_agent', 'hugepages'), (4, 6): ('extra_cpu_flags',)}
USER_DEFINED = ('macspoof', 'tlsciphers', 'tlsprotocols', 'tlsgroups',
                'tlspriority', 'tlsprofile')
CPU_FLAGS = '[+-]?[a-zA-Z0-9_-]+(,[+-]?[a-zA-Z0-9_-]+)*'


class Engine:
    """
    The state of an engine. Hosts, vms, clusters, labels and groups are lists
    of dict; changes is a list of (method, path) of what was not only asked.
    """

    password = 'engine-secret'

    def __init__(self) -> None:
        self.clusters: list[Item] = []
        self.hosts: list[Item] = []
        self.vms: list[Item] = []
        self.labels: list[Item] = []
        self.groups: list[Item] = []
        self.changes: list[tuple[str, str]] = []
        # Called with a host that is to go into maintenance mode; returns
        # whether all its VMs have left, or raises a FaultError.
        self.on_maintenance: Callable[[Item], bool] = lambda host: True
        # Whether followed consoles have ports where "current" is asked for.
        self.follows_current = True
        # Whether it fails to tell what the next start changes.
        self.hides_next_run = False
        # What it was asked, with the query.
        self.questions: list[str] = []
        # By level, the definitions of custom properties.
        self.definitions: dict[str, str] = {
            level: ';'.join(name + '=.*' for name in USER_DEFINED)
            for level in ('4.5', '4.6', '4.7', '4.8')}

    def add_cluster(self, name: str, level: tuple[int, int] = (4, 7)) -> Item:
        self.clusters.append({'id': new_id(), 'name': name, 'level': level})
        return self.clusters[-1]

    def add_host(self, name: str, cluster: Item, hook: bool = True,
                 md5: str = '0') -> Item:
        self.hosts.append({
            'id': new_id(), 'name': name, 'cluster': cluster, 'status': 'up',
            'address': name + '.example.com', 'coming': [],
            'hooks': [('before_vm_start', '50_emulator', md5)] if hook else []
            })
        return self.hosts[-1]

    def add_vm(self, name: str, cluster: Item, tags: Collection[str] = (),
               status: str = 'down', **properties: str) -> Item:
        self.vms.append({
            'id': new_id(), 'name': name, 'cluster': cluster, 'tags': tags,
            'status': status, 'properties': properties, 'next_run': None,
            'consoles': ('spice', 'vnc'), 'origin': 'ovirt', 'level': None,
            'host': None, 'started': None, 'ports': {},
            'affinity': 'migratable'})
        return self.vms[-1]

    def run_vm(self, name: str, host: Item, ports: Ports,
               **properties: str) -> Item:
        """
        Add a VM that runs on a host, with ports ({protocol: (address, port,
        port with TLS)}, of which one may be 0).
        """
        vm = self.add_vm(name, host['cluster'], status='up', **properties)
        vm.update(host=host, ports=ports, consoles=tuple(ports),
                  started='2026-11-01T08:00:00.000Z')
        return vm

    @property
    def url(self) -> str:
        return '%s://127.0.0.1:%d%s' % (
            'https' if self.tls else 'http', self.port, ROOT)

    @contextlib.contextmanager
    def serve(self, certificate: pathlib.Path | None = None,
              ) -> Iterator[Engine]:
        """
        Answer requests on a port of the loopback; with TLS, if there is a
        certificate (path without .pem and .key).
        """
        engine = self
        self.tls = certificate is not None

        class Handler(Request):
            state = engine

        with http.server.ThreadingHTTPServer(('127.0.0.1', 0),
                                             Handler) as server:
            self.port = server.server_address[1]
            if certificate:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain('%s.pem' % certificate,
                                        '%s.key' % certificate)
                # A client that does not trust it is no reason to end.
                server.socket = context.wrap_socket(
                    server.socket, server_side=True)
            thread = threading.Thread(target=server.serve_forever)
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def new_id() -> str:
    return str(uuid.uuid4())


def by_id(objects: list[Item], wanted: str) -> Item:
    return next(item for item in objects if item['id'] == wanted)


def search(objects: list[Item], expression: str, most: int) -> list[Item]:
    """
    Return those objects that "name=X and cluster=Y" (or tag=) finds; with
    "page N" that page of so many, with "sortby name asc" in that order.
    """
    expression, found, page = expression.partition('page ')
    expression, in_order, _ = expression.partition('sortby name asc')
    if in_order:
        objects = sorted(objects, key=lambda item: item['name'])
    objects = matching(objects, expression)
    begin = most * (int(page) - 1) if found else 0
    return objects[begin:][:most]


def matching(objects: list[Item], expression: str) -> list[Item]:
    for part in filter(str.strip, expression.split(' and ')):
        found = re.fullmatch(r'\s*(\w+)\s*=\s*"?(.*?)"?\s*', part)
        if found is None:
            raise FaultError('the stand-in cannot read %s' % part)
        key, value = found.groups()
        pattern = re.escape(value).replace(r'\*', '.*')
        if key == 'tag':
            objects = [item for item in objects if value in item['tags']]
        elif key == 'cluster':
            objects = [item for item in objects
                       if item['cluster']['name'] == value]
        elif key == 'host':
            objects = [item for item in objects
                       if item['host'] and item['host']['name'] == value]
        elif key == 'name':
            objects = [item for item in objects
                       if re.fullmatch(pattern, item['name'])]
        else:
            raise FaultError('the stand-in cannot search for %s' % key)
    return objects


def element(tag: str, /, *children: Element, **texts: object) -> Element:
    """Return an element with children; texts become attributes or more."""
    node = Element(tag)
    for key, value in texts.items():
        if key in ('id', 'href', 'rel'):
            node.set(key, str(value))
        else:
            ElementTree.SubElement(node, key).text = str(value).lower() if (
                isinstance(value, bool)) else str(value)
    node.extend(children)
    return node


def path_of(kind: str, item: Item) -> str:
    return '%s/%s/%s' % (ROOT, kind, item['id'])


def version_element(tag: str, level: tuple[int, int]) -> Element:
    return element(tag, major=level[0], minor=level[1])


def cluster_element(cluster: Item, whole: bool) -> Element:
    node = element('cluster', id=cluster['id'],
                   href=path_of('clusters', cluster))
    if whole:
        node.extend([*element('', name=cluster['name']),
                     version_element('version', cluster['level'])])
    return node


def host_element(host: Item, follow: Collection[str] = ()) -> Element:
    path = path_of('hosts', host)
    node = element(
        'host', cluster_element(host['cluster'], 'cluster' in follow),
        element('os', custom_kernel_cmdline=''), element('spm', priority=5),
        element('power_management', enabled=False, kdump_detection=True),
        id=host['id'], href=path, name=host['name'], status=host['status'],
        address=host['address'])
    if 'hooks' in follow:
        node.append(hooks_element(host))
    else:
        node.append(element('link', rel='hooks', href=path + '/hooks'))
    return node


def hooks_element(host: Item) -> Element:
    return element('hooks', *(
        element('hook', id=new_id(), event_name=event, name=name, md5=md5)
        for event, name, md5 in host['hooks']))


# What a VM has of its own, which here is nothing.
VM_PARTS = {'diskattachments': 'disk_attachments', 'nics': 'nics',
            'numanodes': 'vm_numa_nodes', 'watchdogs': 'watchdogs'}


def consoles_of(vm: Item, current: bool) -> Element:
    """Return a VM's consoles, as they are now or as they are configured."""
    if not current:
        return element('graphics_consoles', *(
            element('graphics_console', id=protocol.encode().hex(),
                    protocol=protocol) for protocol in vm['consoles']))
    node = element('graphics_consoles')
    for protocol, (address, port, tls_port) in vm['ports'].items():
        known = {'port': port, 'tls_port': tls_port}
        node.append(element(
            'graphics_console', id=protocol.encode().hex(), address=address,
            protocol=protocol,
            **{name: value for name, value in known.items() if value}))
    return node


def vm_element(vm: Item, follow: Collection[str] = (),
               properties: dict[str, str] | None = None,
               current: bool = False) -> Element:
    path = path_of('vms', vm)
    properties = vm['properties'] if properties is None else properties
    node = element(
        'vm', cluster_element(vm['cluster'], 'cluster' in follow),
        element('cpu', architecture='x86_64'),
        element('placement_policy', affinity=vm['affinity']),
        id=vm['id'], href=path,
        name=vm['name'], status=vm['status'], origin=vm['origin'],
        next_run_configuration_exists=vm['next_run'] is not None)
    if vm['level']:
        node.append(version_element('custom_compatibility_version',
                                    vm['level']))
    if 'graphics_consoles' in follow:
        node.append(consoles_of(vm, current))
    if vm['host']:
        node.append(element('host', id=vm['host']['id'], href=path_of(
            'hosts', vm['host'])))
    if vm['started']:
        node.append(element('start_time'))
        node[-1].text = vm['started']
    if properties:
        node.append(element('custom_properties', *(
            element('custom_property', name=name, value=value)
            for name, value in properties.items())))
    for rel in VM_PARTS:
        node.append(element('link', rel=rel, href='%s/%s' % (path, rel)))
    return node


def label_element(label: Item, engine: Engine,
                  follow: Collection[str] = ()) -> Element:
    path = path_of('affinitylabels', label)
    node = element('affinity_label', id=label['id'], href=path,
                   name=label['name'])
    for kind in ('vms', 'hosts'):
        if kind in follow:
            node.append(element(kind, *(
                ELEMENTS[kind](by_id(getattr(engine, kind), member))
                for member in label[kind])))
        else:
            node.append(element('link', rel=kind, href='%s/%s' % (path,
                                                                  kind)))
    return node


def group_element(group: Item) -> Element:
    path = '%s/clusters/%s/affinitygroups/%s' % (ROOT, group['cluster'],
                                                 group['id'])
    return element(
        'affinity_group', element('hosts_rule', **group['hosts_rule']),
        element('vms_rule', **group['vms_rule']), element('hosts'),
        *(element(kind, *(element('affinity_label', id=label)
                          for label in group[kind]))
          for kind in ('host_labels', 'vm_labels')),
        element('link', rel='vms', href=path + '/vms'), id=group['id'],
        href=path, name=group['name'], description=group['description'],
        positive=group['vms_rule']['positive'], enforcing=False)


ELEMENTS: dict[str, Callable[[Item], Element]] = {
    'hosts': host_element, 'vms': vm_element}


class FaultError(Exception):
    """Why the engine does not do what it is asked for."""


def check_properties(vm: Item, properties: Item) -> None:
    """Raise a FaultError where a VM may not be given these properties."""
    if vm['origin'] == 'managed_hosted_engine':
        raise FaultError('[There was an attempt to change Hosted Engine VM '
                         'values that are locked.]')
    level = vm['level'] or vm['cluster']['level']
    known = {*USER_DEFINED, *(name for first, names in PREDEFINED.items()
                              if level >= first for name in names)}
    if not known.issuperset(properties) or not re.fullmatch(
            CPU_FLAGS, properties.get('extra_cpu_flags', '-')):
        raise FaultError('[Cannot edit VM. Invalid custom properties]')


class Request(http.server.BaseHTTPRequestHandler):
    """Answers one request with what the engine has (Engine: state)."""

    protocol_version = 'HTTP/1.1'
    state: Engine

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        url = urllib.parse.urlsplit(self.path)
        self.query = {key: values[-1] for key, values in
                      urllib.parse.parse_qs(url.query).items()}
        self.follow = self.query.get('follow', '').split(',')
        length = int(self.headers.get('Content-Length') or 0)
        body = self.rfile.read(length).decode()
        self.current = self.query.get('current') == 'true'
        self.most = int(self.query.get('max', sys.maxsize))
        self.state.questions.append(self.path)
        if url.path.startswith('/ovirt-engine/s'):
            return self.sign_on(urllib.parse.parse_qs(body))
        if self.headers['Authorization'] != 'Bearer token':
            return self.answer(401, element('fault', reason='no token'))
        self.body = ElementTree.fromstring(body or '<nothing/>')
        parts = tuple(url.path[len(ROOT):].strip('/').split('/'))
        if self.command != 'GET':
            self.state.changes.append((self.command, '/'.join(parts)))
        name = '%s_%s' % (self.command.lower(), parts[0] or 'api')
        try:
            self.answer(200, getattr(self, name)(*parts[1:]))
        except FaultError as fault:
            self.answer(409, element('fault', reason='Operation Failed',
                                     detail=str(fault)))
        except (AttributeError, StopIteration):
            self.answer(404, element('fault', reason='Not Found', detail=(
                '%s %s' % (self.command, self.path))))

    do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 (http.server's)

    def sign_on(self, form: dict[str, list[str]]) -> None:
        if self.path.endswith('/token') and form['password'] != [
                self.state.password]:
            document = {'error_code': 'access_denied',
                        'error': 'Cannot authenticate user'}
        else:
            document = {'access_token': 'token', 'token_type': 'bearer'}
        self.send(200, 'application/json', json.dumps(document).encode())

    def answer(self, status: int, node: Element) -> None:
        self.send(status, 'application/xml', ElementTree.tostring(
            node, short_empty_elements=False))

    def send(self, status: int, content_type: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header('Content-Type', content_type)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def get_api(self) -> Element:
        return element('api', element('product_info', element(
            'version', major=4, minor=5, build=0, revision=0)))

    def get_events(self) -> Element:
        return element('events', element('event', id='1', index=1, code=1,
                                         description='-'))

    def get_clusters(self, cluster: str | None = None, kind: str | None = None,
                     group: str | None = None,
                     members: str | None = None) -> Element:
        if cluster is None:
            return element('clusters', *(
                cluster_element(item, True) for item in search(
                    self.state.clusters, self.query.get('search', ''),
                    self.most)))
        if kind is None:
            return cluster_element(by_id(self.state.clusters, cluster), True)
        if members is not None:
            return element(members)
        if group is None:
            return element('affinity_groups', *(
                group_element(item) for item in self.state.groups
                if item['cluster'] == cluster))
        return group_element(by_id(self.state.groups, group))

    def post_clusters(self, cluster: str, kind: str) -> Element:
        def flags(name: str) -> dict[str, bool]:
            rule, = self.body.iterfind(name)
            return {child.tag: child.text == 'true' for child in rule}
        self.state.groups.append({
            'id': new_id(), 'cluster': cluster,
            'name': self.body.findtext('name'),
            'description': self.body.findtext('description'),
            'hosts_rule': {'enabled': True, **flags('hosts_rule')},
            'vms_rule': flags('vms_rule'),
            **{kind: [label.attrib['id']
                      for label in self.body.iterfind(kind + '/*')]
               for kind in ('host_labels', 'vm_labels')}})
        return group_element(self.state.groups[-1])

    def get_hosts(self, host: str | None = None,
                  kind: str | None = None) -> Element:
        if host is None:
            return element('hosts', *(
                host_element(item, self.follow) for item in search(
                    self.state.hosts, self.query.get('search', ''),
                    self.most)))
        item = by_id(self.state.hosts, host)
        if kind == 'hooks':
            return hooks_element(item)
        node = host_element(item)
        if item['coming']:
            item['status'] = item['coming'].pop(0)
        return node

    def post_hosts(self, host: str, action: str) -> Element:
        item = by_id(self.state.hosts, host)
        if action == 'deactivate':
            left = self.state.on_maintenance(item)
            item['status'] = 'preparing_for_maintenance'
            item['coming'] = ['maintenance'] if left else []
        else:
            item['status'], item['coming'] = 'initializing', ['up']
        return element('action', status='complete')

    def get_options(self, name: str) -> Element:
        if name != 'UserDefinedVMProperties':
            raise FaultError('no such option here')
        return element('system_option', element('values', *(
            element('system_option_value', value=value, version=level)
            for level, value in self.state.definitions.items())), name=name)

    def get_templates(self) -> Element:
        return element('templates', element('template', id=new_id(),
                                            name='Blank'))

    def get_vms(self, vm: str | None = None,
                kind: str | None = None) -> Element:
        if vm is None:
            return element('vms', *(
                vm_element(item, self.follow, current=(
                    self.current and self.state.follows_current))
                for item in search(
                    self.state.vms, self.query.get('search', ''), self.most)))
        if kind == 'graphicsconsoles':
            return consoles_of(by_id(self.state.vms, vm), self.current)
        if kind is not None:
            return element(VM_PARTS[kind])
        item = by_id(self.state.vms, vm)
        next_run = self.query.get('next_run') == 'true'
        if next_run and self.state.hides_next_run:
            raise FaultError('busy')
        return vm_element(
            item, properties=item['next_run'] if next_run else None)

    def put_vms(self, vm: str) -> Element:
        item = by_id(self.state.vms, vm)
        given, = self.body.iterfind('custom_properties')
        properties = {each.findtext('name', ''): each.findtext('value', '')
                      for each in given}
        check_properties(item, properties)
        if item['status'] == 'down':
            item['properties'] = properties
        elif self.query.get('next_run') == 'true':
            item['next_run'] = properties
        else:
            # The real engine begins from the VM that runs, and what else
            # waited for the next start is lost.
            raise AssertionError('next_run was not asked for')
        return vm_element(item)

    def get_affinitylabels(self, label: str | None = None,
                           kind: str | None = None) -> Element:
        if label is None:
            return element('affinity_labels', *(
                label_element(item, self.state, self.follow)
                for item in self.state.labels))
        item = by_id(self.state.labels, label)
        if kind is None:
            return label_element(item, self.state)
        return element(kind, *(
            element(kind[:-1], id=member, href='%s/%s/%s' % (ROOT, kind,
                                                             member))
            for member in item[kind]))

    def post_affinitylabels(self, label: str | None = None,
                            kind: str = '') -> Element:
        if label is None:
            self.state.labels.append({
                'id': new_id(), 'name': self.body.findtext('name'),
                'vms': [], 'hosts': []})
            return label_element(self.state.labels[-1], self.state)
        members = by_id(self.state.labels, label)[kind]
        members.append(self.body.attrib['id'])
        return element(kind[:-1], id=members[-1])

    def delete_affinitylabels(self, label: str, kind: str,
                              member: str) -> Element:
        by_id(self.state.labels, label)[kind].remove(member)
        return element('action', status='complete')
