# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The properties of VMs, set through the engine's API."""

from typing import Any

import pytest

from controller import Controller, Outcome
from engine import Engine, Item

MODERN = {'tlsprofile': 'modern'}


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


def label(engine: Engine) -> list[list[str]]:
    """Return the names of the VMs and of the hosts with the label."""
    label, = engine.labels
    return [sorted(item['name'] for item in getattr(engine, kind)
                   if item['id'] in label[kind]) for kind in ('vms', 'hosts')]


def test_vms_with_a_tag_get_the_policy_and_keep_their_other_properties(
        controller: Controller, vms: list[Item]) -> None:
    outcome = set_policy(controller)
    web1, web2, other = vms
    assert web1['properties'] == {'sap_agent': 'true', 'tlsprofile': 'modern'}
    assert web2['next_run'] == {'macspoof': 'true', 'tlsprofile': 'modern'}
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
        'macspoof': 'false', 'hugepages': '1', 'tlsprofile': 'modern'}


def test_empty_value_removes_a_property_and_the_pin(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    set_policy(controller, vms='name=*')
    assert label(engine) == [['other', 'web1', 'web2'], ['node1']]
    set_policy(controller, vms='name=other', properties={'tlsprofile': ''})
    assert vms[2]['properties'] == {}
    assert label(engine) == [['web1', 'web2'], ['node1']]


def test_vm_that_keeps_another_property_stays_pinned(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    set_policy(controller, properties={'tlsprofile': 'modern',
                                       'tlsprotocols': 'TLSv1.3'})
    set_policy(controller, properties={'tlsprofile': ''})
    assert vms[0]['properties'] == {'sap_agent': 'true',
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


def test_label_follows_the_hosts_and_keeps_the_vms_of_other_runs(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    set_policy(controller, vms='name=other')
    engine.hosts[1]['hooks'] = engine.hosts[0]['hooks']
    set_policy(controller)
    assert label(engine) == [['other', 'web1', 'web2'], ['node1', 'node2']]


def test_each_cluster_has_its_own_pins(controller: Controller, engine: Engine,
                                       cluster: Item, vms: list[Item]) -> None:
    second = engine.add_cluster('Second')
    engine.add_host('node3', second)
    engine.add_vm('web3', second, tags=['pci'])
    set_policy(controller)
    assert label(engine) == [['web1', 'web2', 'web3'], ['node1', 'node3']]
    assert [group['cluster'] for group in engine.groups] == [
        cluster['id'], second['id']]


def test_without_a_host_with_the_hook_nothing_is_set(
        controller: Controller, engine: Engine, vms: list[Item]) -> None:
    engine.hosts[0]['hooks'] = [('before_vm_start', '50_qemucmdline')]
    outcome = set_policy(controller, status=2)
    assert 'no host of the cluster Default has the hook' in ' '.join(
        outcome.text.split())
    assert engine.changes == []


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
    assert message in ' '.join(outcome.text.split())
    assert engine.changes == []


def test_hosts_with_and_without_the_hook_are_shown(controller: Controller,
                                                   cluster: Item) -> None:
    text = controller.play('hosts_with_hook').text
    assert 'with the hook: node1' in text
    assert 'without it: node2' in text
