# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later

"""The commands that the documents tell people to type, and what runs them."""

import pathlib
import re
from collections.abc import Mapping

import support

# On a host with a VM of tlsprofile=modern, each with the exit statuses that
# it may have. The tests on VMs run them in this order.
ON_A_HOST = {
    'ls -Z /usr/libexec/qemu-kvm-modified': {0},
    'install -m 644 -o root tlsciphers.conf /etc/vdsm/tlsciphers.conf': {0},
    'gnutls-cli --list --priority SECURE256:-VERS-ALL:+VERS-TLS1.3:-GROUP-ALL:'
    '+GROUP-SECP384R1': {0},
    'tlsprofile=modern /usr/libexec/vdsm/hooks/before_vm_start/50_emulator '
    '--test': {0},
    'tlsgroups=X25519:P-256 /usr/libexec/vdsm/hooks/before_vm_start/'
    '50_emulator --test': {0},
    'tlspriority=NORMAL:+FOO /usr/libexec/vdsm/hooks/before_vm_start/'
    '50_emulator --test': {1},
    'openssl s_client -connect HOST:PORT -tls1_2 </dev/null': {1},
    'openssl s_client -connect HOST:PORT -tls1_3 -ciphersuites '
    'TLS_AES_128_CCM_SHA256 </dev/null': {1},
    'openssl s_client -connect HOST:PORT -tls1_3 -groups P-521 </dev/null':
        {1},
    'openssl s_client -connect HOST:PORT -tls1_3 </dev/null': {0},
    'OPENSSL_CONF=/dev/null openssl s_client -connect HOST:PORT -tls1_2 '
    '-cipher AES128-SHA:@SECLEVEL=0 </dev/null': {1},
    'OPENSSL_CONF=/dev/null openssl s_client -connect HOST:PORT -tls1_3 '
    '-ciphersuites TLS_AES_128_CCM_SHA256 </dev/null': {1},
    'OPENSSL_CONF=/dev/null openssl s_client -connect HOST:PORT -tls1_3 '
    '-groups X448 </dev/null': {1},
    'OPENSSL_CONF=/dev/null openssl s_client -connect HOST:PORT -tls1_2 '
    '-sigalgs RSA+SHA1 -cipher ALL:@SECLEVEL=0 </dev/null': {1},
    'gnutls-cli --insecure --priority NORMAL:-VERS-ALL:+VERS-TLS1.1 '
    '--port PORT HOST </dev/null': {1},
    'virsh -r dumpxml NAME | grep tlsPort': {0},
    'grep "QEMU gets" /var/log/libvirt/qemu/NAME.log': {0},
    # The machine of the tests is no host of oVirt: there is no vdsm.
    'vdsm-tlsciphers doctor': {0, 1},
    'vdsm-tlsciphers check tlsprofile=modern': {0},
    'vdsm-tlsciphers check tlsprofile=intermediate tlsprotocols=TLSv1.2': {0},
    'vdsm-tlsciphers check --vm NAME': {0},
    'vdsm-tlsciphers check --running': {0},
    'vdsm-tlsciphers status': {0},
    'vdsm-tlsciphers scan': {0},
    'vdsm-tlsciphers scan --baseline modern webserver1': {0},
    'vdsm-tlsciphers scan node1.example.com:5900 [fd00::7]:5901': {0},
    'vdsm-tlsciphers scan --json >before.json': {0},
    'vdsm-tlsciphers scan --html after.html': {0},
    'vdsm-tlsciphers scan --before before.json --html after.html': {0},
    'vdsm-tlsciphers report --html report.html scans/': {0},
    'vdsm-tlsciphers engine-line --cver 4.6 4.7': {0},
    # On a VM that was started without a policy.
    'vdsm-tlsciphers apply --profile intermediate --dry-run webserver1': {0},
    'vdsm-tlsciphers apply --profile intermediate --require webserver1': {0},
    'vdsm-tlsciphers apply --profile intermediate --dry-run --all': {0},
    'vdsm-tlsciphers apply --profile intermediate --require --all': {0},
    'vdsm-tlsciphers apply --again --all': {0},
    'vdsm-tlsciphers apply --remove webserver1': {0},
    'vdsm-tlsciphers status webserver1': {0},
    'vdsm-tlsciphers incoming --enable': {0},
    'vdsm-tlsciphers incoming --test': {0},
    'vdsm-tlsciphers incoming --disable': {0},
}

# What runs the others: a test, or a script of the project.
ELSEWHERE = {
    './check.sh': 'check.sh',
    './check.sh unit': 'check.sh',
    './check.sh userlands': 'check.sh',
    './check.sh userlands forky': 'check.sh',
    'tests/userlands/enter "$(tests/userlands/build-root trixie)" bash':
        'check.sh',
    './check.sh fuzz': 'check.sh',
    './check.sh bench': 'check.sh',
    'make bench': 'check.sh',
    'tests/lab rpmbuild/RPMS/noarch/*.rpm python3 tests/bench/bench.py '
    '--rounds 20 vms ports': 'check.sh',
    './check.sh lint': 'check.sh',
    'make rpm': 'check.sh',
    'tests/lab rpmbuild/RPMS/noarch/*.rpm bash': 'check.sh',
    'python3 -m pytest tests/libvirt/test_guard.py -k NAME --pdb': 'check.sh',
    'python3 -m pytest tests/unit/test_wrapper.py -k priority': 'check.sh',
    'python3 -m pytest tests/admin/test_check.py': 'check.sh',
    'TEST_PYTHONS=3.12 python3 -m pytest tests/unit': 'check.sh',
    'ruff check . && mypy && reuse lint': 'check.sh',
    './check.sh coverage': 'check.sh',
    './check.sh soak': 'check.sh',
    'tests/fuzz/fuzz.py xml -max_total_time=600': 'check.sh',
    './demo.sh': 'demo.sh',
    './autogen.sh && ./configure && make': 'check.sh',
    './autogen.sh && ./configure && make rpm': 'check.sh',
    './autogen.sh && ./configure && make rpm '
    'RPMBUILD_FLAGS=\'--define "rhel 8"\'':
        'package/test_rpm.py::test_each_release_gets_what_it_can_use',
    './autogen.sh && ./configure && make pyz':
        'package/test_build.py::'
        'test_command_is_also_one_file_for_machines_that_are_no_hosts',
    'admin/vdsm-tlsciphers.pyz scan node1.example.com:5900':
        'package/test_build.py::test_one_file_runs_on_each_python',
    **dict.fromkeys((
        'admin/vdsm-tlsciphers.pyz scan --engine engine.example.com '
        '--html consoles.html',
        'vdsm-tlsciphers.pyz scan --engine engine.example.com '
        '--html consoles.html',
        'vdsm-tlsciphers.pyz scan --engine engine.example.com --json '
        '>before.json',
        'vdsm-tlsciphers.pyz scan --engine engine.example.com '
        '--before before.json --html after.html'),
        'ansible/test_scan_engine.py::'
        'test_page_has_clusters_hosts_and_what_is_wrong'),
    **dict.fromkeys((
        'export OVIRT_USERNAME=admin@internal OVIRT_CAFILE=ca.pem',
        'vdsm-tlsciphers.pyz scan --engine engine.example.com',
        'vdsm-tlsciphers.pyz scan --engine engine.example.com --search '
        '"cluster=Default and tag=pci" --json',
        'vdsm-tlsciphers.pyz scan --engine engine.example.com --search '
        'tag=pci --baseline none'),
        'ansible/test_scan_engine.py::'
        'test_number_of_waiting_vms_falls_with_each_reboot'),
    'make check': 'check.sh',
    'make help': 'package/test_build.py::test_help_names_what_can_be_made',
    'make install DESTDIR=...':
        'package/test_build.py::test_install_and_uninstall_are_complete',
    'make dist distcheck srpm rpm':
        'package/test_release.py::test_release_check_passes',
    'make rpmlint repo reproducible release-check':
        'package/test_release.py::test_release_check_passes',
    'make release-check':
        'package/test_release.py::test_release_check_passes',
    'make repo GPG_KEY=devel@example.org REPO_URL=https://repo.example.org/'
    'el9': 'package/test_repo.py::'
           'test_packager_names_the_key_and_the_place',
    'make -f .copr/Makefile srpm outdir=/tmp spec=vdsm-hook-tlsciphers.spec':
        'package/test_services.py::test_copr_gets_an_srpm_that_can_be_rebuilt',
    "rpm -qp --qf '%{PAYLOADDIGEST}\\n' rpmbuild/RPMS/noarch/*.rpm "
    'repo/*.rpm': 'package/test_repo.py::'
                  'test_signing_does_not_change_the_payload',
    'yum install ./vdsm-hook-tlsciphers-VERSION.noarch.rpm':
        'node/test_life_cycle.py::'
        'test_take_over_update_and_removal_survive_reboots',
    'dnf install ./vdsm-hook-tlsciphers-*.noarch.rpm':
        'node/test_life_cycle.py::'
        'test_take_over_update_and_removal_survive_reboots',
    'dnf --assumeyes --noplugins install ./vdsm-hook-tlsciphers-*.noarch.rpm':
        'package/test_layers.py::'
        'test_persisted_package_is_labelled_in_both_layers',
    'dnf remove vdsm-hook-tlsciphers':
        'node/test_life_cycle.py::'
        'test_take_over_update_and_removal_survive_reboots',
    **dict.fromkeys((
        'sha256sum --check vdsm-tlsciphers.pyz.sha256',
        'gpg --verify vdsm-tlsciphers.pyz.asc'),
        'package/test_repo.py::test_the_one_file_is_vouched_for'),
    'yum install vdsm-hook-tlsciphers':
        'package/test_repo.py::test_dnf_installs_what_is_signed',
    'cp RPM-GPG-KEY-vdsm-hook-tlsciphers /etc/pki/rpm-gpg/':
        'package/test_repo.py::test_dnf_installs_what_is_signed',
    'cp vdsm-hook-tlsciphers.repo /etc/yum.repos.d/':
        'package/test_repo.py::test_dnf_installs_what_is_signed',
    'rpm -V vdsm-hook-tlsciphers':
        'package/test_life_cycle.py::test_life_of_the_package',
    'semodule -l | grep tlsciphers':
        'node/test_life_cycle.py::'
        'test_take_over_update_and_removal_survive_reboots',
    'semodule -i /usr/share/selinux/packages/tlsciphers.pp.bz2':
        'package/test_life_cycle.py::test_life_of_the_package',
    'restorecon -F -v /usr/libexec/qemu-kvm-modified '
    '/usr/libexec/vdsm/hooks/qemu-kvm-wrapper/qemu-kvm-modified':
        'node/test_selinux.py::test_wrapper_with_another_label_starts_no_vm',
    'matchpathcon /usr/libexec/qemu-kvm-modified':
        'package/test_life_cycle.py::test_life_of_the_package',
    'ausearch -m avc -ts recent':
        'node/test_selinux.py::test_plain_vm_is_denied_nothing',
    'mount -o remount,rw /':
        'package/test_take_over.py::test_read_only_root_is_told',
    'rpm -i vdsm-hook-tlsciphers-*.noarch.rpm':
        'package/test_take_over.py::'
        'test_legacy_node_has_the_files_after_a_reboot',
    'tests/lab rpmbuild/RPMS/noarch/*.rpm python3 -m pytest tests/libvirt '
    '-k NAME': 'check.sh',
    'make collection': 'ansible/test_collection.py::'
                       'test_collection_can_be_built_and_installed',
    'ansible-galaxy collection install vdsm_hooks-tlsciphers-*.tar.gz':
        'ansible/test_collection.py::'
        'test_collection_can_be_built_and_installed',
    'ansible-playbook vdsm_hooks.tlsciphers.roll_out --check':
        'ansible/test_hosts.py::test_roll_out',
    'ansible-playbook vdsm_hooks.tlsciphers.roll_out':
        'ansible/test_hosts.py::test_roll_out',
    'ansible-playbook vdsm_hooks.tlsciphers.without_shutdown --check '
    '-e tlsciphers_profile=modern -e tlsciphers_require=true':
        'ansible/test_without_shutdown.py::'
        'test_check_mode_says_what_it_would_do',
    'ansible-playbook vdsm_hooks.tlsciphers.without_shutdown '
    '-e tlsciphers_profile=modern -e tlsciphers_require=true':
        'ansible/test_without_shutdown.py::'
        'test_host_is_in_maintenance_mode_once',
    'ansible-playbook vdsm_hooks.tlsciphers.roll_back':
        'ansible/test_hosts.py::test_roll_out',
    'ansible-playbook vdsm_hooks.tlsciphers.engine_properties --check':
        'ansible/test_engine_properties.py::test_properties_are_defined_for_'
        'each_level_beside_those_of_others',
    'ansible-playbook vdsm_hooks.tlsciphers.engine_properties':
        'ansible/test_engine_properties.py::test_properties_are_defined_for_'
        'each_level_beside_those_of_others',
    'ansible-playbook vdsm_hooks.tlsciphers.vm_policy -e \'{"tlsciphers_vms": '
    '"tag=pci", "tlsciphers_properties": {"tlsprofile": "modern"}}\'':
        'ansible/test_vm_policy.py::test_vms_with_a_tag_get_the_policy_and_'
        'keep_their_other_properties',
    'ansible-playbook vdsm_hooks.tlsciphers.vm_policy -e \'{"tlsciphers_vms": '
    '"tag=pci", "tlsciphers_properties": {"tlsprofile": "modern"}, '
    '"tlsciphers_guard": false, "tlsciphers_pin": false}\'':
        'ansible/test_vm_policy.py::test_guard_can_be_left_out_and_taken_away',
    'python3 -m pytest tests/node --rpm rpmbuild/RPMS/noarch/*.rpm':
        'check.sh',
}

# Those that nothing here can run, and why.
NEEDS = {
    'apt-get install python3-venv python3-dev gcc libxml2-dev '
    'libcurl4-openssl-dev libssl-dev':
        'a machine that is changed; run by hand',
    **dict.fromkeys((
        'python3 -m venv ~/tlsciphers-sdk',
        '~/tlsciphers-sdk/bin/pip install ovirt-engine-sdk-python',
        '~/tlsciphers-sdk/bin/python admin/vdsm-tlsciphers.pyz scan --engine '
        'engine.example.com'), 'a home; run by hand'),
    'apt-get install autoconf automake bzip2 checkpolicy gnutls-bin make '
    'openssl python3-libvirt python3-rpm python3-venv semodule-utils '
    'shellcheck': 'a machine that is changed; run by hand',
    'python3 -m venv --system-site-packages ~/tlsciphers-venv':
        'a home; run by hand',
    '. ~/tlsciphers-venv/bin/activate': 'the same',
    'pip install -r tests/requirements.txt': 'the same',
    'dnf install autoconf automake bzip2 checkpolicy gnutls-utils make '
    'openssl policycoreutils python3-libvirt python3-pytest python3-rpm '
    'rpm-build rpmlint ShellCheck':
        'Fedora or EL; not run, and the page says so',
    'mock -r centos-stream+epel-9-x86_64 rpmbuild/SRPMS/*.rpm':
        'Fedora or EL; not run, and the page says so',
    'engine-config -m UserDefinedVMProperties=... --cver=4.7':
        'an engine; unit/test_documentation.py compares the definition with '
        'what the hook takes',
    'systemctl restart ovirt-engine': 'an engine',
    'install -m 0644 ansible/playbooks/tasks/host_deploy.yml /etc/'
    'ovirt-engine/ansible/vdsm-hook-tlsciphers.yml':
        'an engine; ansible/test_host_deploy.py includes the file as it does',
    'install -m 0644 RPM-GPG-KEY-vdsm-hook-tlsciphers /etc/ovirt-engine/'
    'ansible/': 'an engine',
    'dnf reinstall vdsm-hook-tlsciphers': 'a repository',
    'journalctl -t vdsm-tlsciphers': 'a journal',
    'grep vdsm-hook-tlsciphers: /var/log/vdsm/vdsm.log': 'vdsm',
    'mount -o remount,ro /': 'a legacy oVirt Node',
    'git tag vVERSION': 'a release',
}

# Blocks that are no commands, by the beginning of their first line.
NO_COMMANDS = (
    'console  ', 'engine           the host', 'ok       package',
    'db2: effective', 'ovirt_hosts:', 'tlsciphers_host_repository:',
    '<qemu:commandline>', '<cpu ...>', '- name: ',
    'vdsm-hook-tlsciphers: files of the manually', 'priority: the VNC console',
    'ECDHE+AESGCM:TLS_AES', 'NORMAL:-VERS-ALL', '[default]', 'wrapper: ',
    '[Unit]', 'ok       package', 'db2: effective', 'GET  /ovirt-engine/api')


def paths() -> list[pathlib.Path]:
    """Return the documents (list of pathlib.Path)."""
    return [path for pattern in ('*.md', 'docs/*.md', 'ansible/*.md',
                                   'man/*.[58]')
            for path in sorted(support.SOURCE.glob(pattern))]


def commands(path: pathlib.Path, values: Mapping[str, object]) -> list[str]:
    """
    Return the commands (list of str) of a document; a man page with values
    ({name: value}) for its names.
    """
    if path.suffix == '.md':
        blocks = re.findall(r'(?m)^\n((?: {4,}\S.*\n|\n(?= {4,}))+)'
                            r'|(?s:^```\w*\n(.*?)^```)', path.read_text())
        blocks = [indented or fenced for indented, fenced in blocks]
    else:
        blocks = re.findall(r'(?s)\n\.Bd -literal[^\n]*\n(.*?)\n\.Ed',
                            support.substitute(path, values).decode())
    found = []
    for block in blocks:
        if block.strip().startswith(NO_COMMANDS):
            continue
        # Behind a "$" there are commands, and all else is what they answer.
        prompted = re.findall(r'(?m)^ *\$ (.*)', block)
        for line in prompted or block.strip().splitlines():
            line = re.sub(r' +# .*', '', line.strip())
            line = re.sub(r"(Properties=)'.*'", r'\1...', line)
            found.append(re.sub(r'(tlsciphers-)[0-9][0-9.-]+(?:\.el\d+)?(\.noarch)',
                                r'\1VERSION\2', line))
    return found
