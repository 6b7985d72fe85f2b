# SPDX-FileCopyrightText: vdsm-hook-tlsciphers contributors
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The names that the installed files hold instead of paths, for every folder.

wrapper = $(libexecdir)/qemu-kvm-modified
incoming = $(libexecdir)/vdsm-tlsciphers-incoming
emulatordir = $(vdsmhooksdir)/qemu-kvm-wrapper

substitute = $(SHELL) $(top_srcdir)/build-aux/substitute \
	PYTHON=$(TARGET_PYTHON) \
	OPENSSL=$(OPENSSL) \
	OPENSSL_CONF=$(OPENSSL_CONF) \
	GNUTLS_CLI=$(GNUTLS_CLI) \
	HOST_DEFAULT=/etc/vdsm/tlsciphers.conf \
	QEMU_KVM=$(QEMU_KVM) \
	WRAPPER=$(wrapper) \
	EMULATOR=$(emulatordir)/qemu-kvm-modified \
	HOOK=$(vdsmhooksdir)/before_vm_start/50_emulator \
	INCOMING=$(incoming) \
	LIBEXECDIR=$(libexecdir) \
	PKGDATADIR=$(pkgdatadir) \
	SELINUX_MODULE=$(datadir)/selinux/packages/tlsciphers.pp.bz2 \
	VDSM_RUN_DIR=/run/vdsm \
	VERSION=$(VERSION)

# That of the spec's newest changelog entry, which rpm gives to the files of the
# RPM.
source_date = $${SOURCE_DATE_EPOCH:-$$(date --utc +%s --date="$$( \
	sed -n 's/^\* \(.\{15\}\) .*/\1/p' $(top_srcdir)/$(PACKAGE).spec | \
	head -n 1)")}

.DELETE_ON_ERROR:
