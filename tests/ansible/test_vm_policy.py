# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The properties of VMs, set through the engine's API."""

from typing import Any

import pytest

from controller import Controller, Outcome
from engine import Engine, Item

MODERN = {'tlsprofile': 'modern'}
GUARD = {'extra_cpu_flags': '+vdsm-tls'}
GUARDED = {**MODERN, **GUARD}


@pytest.fixture
def cluster(engine: Engine) -> Item:
    """A cluster with a host that has the hook, and one that has not."""
    cluster = engine.add_cluster('Default')
    engine.add_host('node1', cluster)
    engine.add_host('node2', cluster, hook=False)
    return cluster


@pytest.fixture
def vms(engine: Engine, cluster: Item) -> list[Item]:
    """Three VMs: two have the tag pci, of which one runs."""
    return [
        engine.add_vm('web1', cluster, tags=['pci'], sap_agent='true'),
        engine.add_vm('web2', cluster, tags=['pci', 'web'], status='up',
                      tlsprofile='intermediate', macspoof='true'),
        engine.add_vm('other', cluster)]


def set_policy(controller: Controller, *options: str,
               properties: dict[str, str] = MODERN, vms: str = 'tag=pci',
               **keywords: Any) -> Outcome:
    return controller.play('vm_policy', *options, tlsciphers_vms=vms,
                           tlsciphers_properties=properties, **keywords)


def words(outcome: Outcome) -> str:
    """What a play printed, whatever the width of its lines."""
    return ' '.join(outcome.text.split())


def label(engine: Engine) -> list[list[str]]:
    """Return the names of the VMs and of the hosts with the label."""
    label, = engine.labels
    return [sorted(item['name'] for item in getattr(engine, kind)
                   if item['id'] in label[kind]) for kind in ('vms', 'hosts')]


def test_vms_with_a_tag_get_the_policy_and_keep_their_other_properties(
        controller: Controller, vms: list[Item]) -> None:
    outcome = set_policy(controller)
    web1, web2, other = vms
    assert web1['properties'] == {'sap_agent': 'true', **GUARDED}
    assert web2['next_run'] == {'macspoof': 'true', **GUARDED}
    assert web2['properties']['tlsprofile'] == 'intermediate'
    assert other['properties'] == {}
    # Only the one that runs has to be started again.
    told = outcome.text.partition('until their next start')[2]
    assert '"web2"' in told
    assert '"web1"' not in told


def test_second_run_changes_nothing(controller: Controller, engine: Engine,
                                    vms: list[Item]) -> None:
    set_policy(controller)
    engine.changes.clear()
    outcome = set_policy(controller)
    assert outcome.changed == {'localhost': 0}
    assert engine.changes == []


def test_check_mode_changes_nothing_and_says_what_it_would(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    outcome = set_policy(controller, '--check')
    assert outcome.changed['localhost'] > 0
    assert engine.changes == []


def test_what_waits_for_the_next_start_is_kept(controller: Controller,
                                               vms: list[Item]) -> None:
    vms[1]['next_run'] = {'macspoof': 'false', 'hugepages': '1'}
    set_policy(controller)
    assert vms[1]['next_run'] == {
        'macspoof': 'false', 'hugepages': '1', **GUARDED}


@pytest.mark.soak
def test_empty_value_removes_a_property_and_the_pin(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    set_policy(controller, vms='name=*')
    assert label(engine) == [['other', 'web1', 'web2'], ['node1']]
    set_policy(controller, vms='name=other', properties={'tlsprofile': ''})
    assert vms[2]['properties'] == {}
    assert label(engine) == [['web1', 'web2'], ['node1']]


@pytest.mark.soak
def test_vm_that_keeps_another_property_stays_pinned(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    set_policy(controller, properties={'tlsprofile': 'modern',
                                       'tlsprotocols': 'TLSv1.3'})
    for vm in vms:
        vm['consoles'] = ['spice']
    set_policy(controller, properties={'tlsprofile': ''})
    assert vms[0]['properties'] == {'sap_agent': 'true', **GUARD,
                                    'tlsprotocols': 'TLSv1.3'}
    assert label(engine) == [['web1', 'web2'], ['node1']]


def test_vms_are_pinned_to_the_hosts_that_have_the_hook(
        controller: Controller, engine: Engine, cluster: Item,
        vms: list[Item]) -> None:
    set_policy(controller)
    assert label(engine) == [['web1', 'web2'], ['node1']]
    group, = engine.groups
    assert group['cluster'] == cluster['id']
    assert group['vm_labels'] == group['host_labels'] == [
        engine.labels[0]['id']]
    assert group['hosts_rule'] == {'enabled': True, 'positive': True,
                                   'enforcing': True}
    assert group['vms_rule']['enabled'] is False


@pytest.mark.soak
def test_label_follows_the_hosts_and_keeps_the_vms_of_other_runs(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    set_policy(controller, vms='name=other')
    engine.hosts[1]['hooks'] = engine.hosts[0]['hooks']
    set_policy(controller)
    assert label(engine) == [['other', 'web1', 'web2'], ['node1', 'node2']]


@pytest.mark.soak
def test_each_cluster_has_its_own_pins(controller: Controller, engine: Engine,
                                       cluster: Item, vms: list[Item]) -> None:
    second = engine.add_cluster('Second')
    engine.add_host('node3', second)
    engine.add_vm('web3', second, tags=['pci'])
    set_policy(controller)
    assert label(engine) == [['web1', 'web2', 'web3'], ['node1', 'node3']]
    assert [group['cluster'] for group in engine.groups] == [
        cluster['id'], second['id']]


@pytest.mark.soak
def test_without_a_host_with_the_hook_nothing_is_set(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    engine.hosts[0]['hooks'] = [('before_vm_start', '50_qemucmdline', '0')]
    for option in 'tlsciphers_pin', 'tlsciphers_guard':
        variables: dict[str, Any] = {option: False}
        outcome = set_policy(controller, status=2, **variables)
        assert 'no host of the cluster Default has the hook' in words(outcome)
        assert engine.changes == []


@pytest.mark.soak
def test_vms_can_be_left_unpinned(controller: Controller, engine: Engine,
                                  vms: list[Item]) -> None:
    set_policy(controller, tlsciphers_pin=False)
    assert vms[0]['properties']['tlsprofile'] == 'modern'
    assert engine.labels == engine.groups == []


@pytest.mark.parametrize('keywords, message', [
    ({'vms': 'tag=nosuch'}, 'finds no VM with \\"tag=nosuch\\"'),
    ({'vms': ''}, 'set tlsciphers_vms to a search'),
    ({'properties': {'tlsprofiles': 'modern'}}, 'to some of tlsciphers, tlsp'),
    ({'properties': {}}, 'to some of tlsciphers, tlsprotocols')])
def test_what_cannot_be_meant_is_refused(
        controller: Controller, engine: Engine, vms: list[Item],
        keywords: dict[str, Any], message: str) -> None:
    outcome = set_policy(controller, status=2, **keywords)
    assert message in words(outcome)
    assert engine.changes == []


FLAGS = {
    '+pcid,-hle,+pcid': '+pcid,-hle,+pcid,+vdsm-tls',
    'vdsm-tls,-hle': 'vdsm-tls,-hle',
    '+pcid,+vdsm-tls': '+pcid,+vdsm-tls',
    '-vdsm-tls,vdsm-tls-2': '+vdsm-tls,vdsm-tls-2'}


def test_guard_keeps_other_flags_and_leaves_them_behind(
        controller: Controller, engine: Engine, cluster: Item) -> None:
    for number, flags in enumerate(FLAGS):
        engine.add_vm('web%d' % number, cluster, extra_cpu_flags=flags,
                      **MODERN)
    set_policy(controller, vms='name=web*', tlsciphers_pin=False)
    assert [vm['properties'] for vm in engine.vms] == [
        {**MODERN, 'extra_cpu_flags': flags} for flags in FLAGS.values()]
    # Where it was there nothing was to be done.
    assert engine.changes == [('PUT', 'vms/' + engine.vms[index]['id'])
                              for index in (0, 3)]
    set_policy(controller, vms='name=web*', properties={'tlsprofile': ''},
               tlsciphers_pin=False)
    assert [vm['properties'] for vm in engine.vms] == [
        {'extra_cpu_flags': ','.join(
            flag for flag in flags.split(',')
            if flag.lstrip('+-') != 'vdsm-tls')} for flags in FLAGS]


@pytest.mark.soak
@pytest.mark.parametrize('properties', [
    {'tlsprofile': ' '}, {'tlsprofile': 'none'}])
def test_guard_goes_with_the_last_policy(
        controller: Controller, cluster: Item, engine: Engine,
        properties: dict[str, str]) -> None:
    engine.add_vm('web1', cluster, **GUARDED)
    # It would not start.
    engine.add_vm('web2', cluster, **GUARD)
    set_policy(controller, vms='name=web*', properties=properties,
               tlsciphers_pin=False)
    assert [vm['properties'] for vm in engine.vms] == 2 * [{
        name: value for name, value in properties.items() if value.strip()}]


@pytest.mark.soak
def test_guard_can_be_left_out_and_taken_away(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    vms[0]['properties'] = {'extra_cpu_flags': '+pcid,+vdsm-tls'}
    # It leaves VNC uncovered, which only the guard minds.
    groups = {'tlsgroups': 'X25519'}
    outcome = set_policy(controller, properties=groups, vms='name=web1',
                         tlsciphers_guard=False)
    assert vms[0]['properties'] == {'extra_cpu_flags': '+pcid', **groups}
    # No host refuses it.
    assert 'refuse' not in words(outcome)
    # The affinity then is what protects.
    assert label(engine) == [['web1'], ['node1']]
    assert engine.groups[0]['hosts_rule']['enforcing']


@pytest.mark.soak
def test_level_below_4_6_has_no_guard(controller: Controller,
                                      engine: Engine) -> None:
    for name, level, own in [('old', (4, 5), None), ('kept', (4, 10), (4, 5)),
                             ('new', (4, 6), None), ('own', (4, 5), (4, 10))]:
        cluster = engine.add_cluster(name, level)
        engine.add_host('node-' + name, cluster)
        engine.add_vm(name, cluster)['level'] = own
    outcome = set_policy(controller, vms='name=*', tlsciphers_pin=False)
    assert {vm['name']: vm['properties'] for vm in engine.vms} == {
        'old': MODERN, 'kept': MODERN, 'new': GUARDED, 'own': GUARDED}
    assert 'so pin them: kept, old"' in words(outcome)


CONSOLES = {'both': ['vnc', 'spice'], 'spice': ['spice'], 'vnc': ['vnc'],
            'headless': []}


@pytest.mark.parametrize('properties, uncovered', [
    ({'tlsciphers': 'AES256-SHA', 'tlsprofile': 'none'},
     'both (VNC), vnc (VNC);'),
    ({'tlspriority': 'NORMAL'}, 'both (SPICE), spice (SPICE);')])
def test_guard_that_would_keep_a_vm_from_starting_is_refused(
        controller: Controller, engine: Engine, cluster: Item,
        properties: dict[str, str], uncovered: str) -> None:
    for name, consoles in CONSOLES.items():
        engine.add_vm(name, cluster)['consoles'] = consoles
    outcome = set_policy(controller, vms='name=*', properties=properties,
                         status=2)
    assert 'in brackets: ' + uncovered in words(outcome)
    assert engine.changes == []


def test_guard_is_set_where_two_properties_cover_two_consoles(
        controller: Controller, engine: Engine, cluster: Item) -> None:
    vm = engine.add_vm('both', cluster)
    properties = {'tlspriority': 'NORMAL', 'tlsgroups': 'X25519'}
    set_policy(controller, vms='name=both', properties=properties,
               tlsciphers_pin=False)
    assert vm['properties'] == {**properties, **GUARD}


@pytest.mark.soak
def test_hosts_that_refuse_the_guard_are_named(
        controller: Controller, engine: Engine, cluster: Item,
        vms: list[Item]) -> None:
    text = words(set_policy(controller, vms='name=web1'))
    assert 'refuse VMs with the guard; roll the package out there: node2' in (
        text)
    assert 'do not have the same hook' not in text
    # Another version, or a manual installation.
    engine.add_host('node3', cluster, md5='1')
    text = words(set_policy(controller, vms='name=web1'))
    assert 'refuses VMs with the guard: node1 0, node3 1' in text


def test_hosted_engine_is_named_and_left_alone(
        controller: Controller, engine: Engine, cluster: Item) -> None:
    own = engine.add_vm('HostedEngine', cluster)
    other = engine.add_vm('other', cluster)
    own['origin'] = 'managed_hosted_engine'
    outcome = set_policy(controller, vms='name=*')
    assert 'left as it is: HostedEngine' in words(outcome)
    assert own['properties'] == {}
    assert label(engine)[0] == ['other']
    assert other['properties'] == GUARDED
